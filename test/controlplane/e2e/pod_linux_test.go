package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/clusterdns/clusterdns/test/controlplane/netns"
)

// resolveEnv names what this program looks up, instead of running tests, with
// the resolver that the environment's GODEBUG chooses: an address, or else a
// name.
const resolveEnv = "E2E_RESOLVE"

func init() {
	what := os.Getenv(resolveEnv)
	if what == "" {
		return
	}
	lookup := net.DefaultResolver.LookupHost
	if net.ParseIP(what) != nil {
		lookup = net.DefaultResolver.LookupAddr
	}
	found, err := lookup(context.Background(), what)
	var unknown *net.DNSError
	switch {
	case errors.As(err, &unknown) && unknown.IsNotFound:
		os.Exit(notFound)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(strings.Join(found, "\n"))
	os.Exit(0)
}

// notFound is the exit status of a lookup that found that there is nothing,
// as getent(1) has it.
const notFound = 2

// muslLookup does the same with the C library that it is compiled for.
const muslLookup = `
#include <netdb.h>
#include <stdio.h>
#include <arpa/inet.h>

int main(int argc, char **argv) {
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *list;
	char text[NI_MAXHOST];
	int err;
	if (getaddrinfo(argv[1], 0, &hints, &list) == 0) {
		err = getnameinfo(list->ai_addr, list->ai_addrlen, text, sizeof text, 0, 0, NI_NAMEREQD);
		if (err == 0) puts(text);
	} else {
		hints.ai_flags = 0;
		err = getaddrinfo(argv[1], 0, &hints, &list);
		for (struct addrinfo *a = err ? 0 : list; a; a = a->ai_next)
			if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, 0, 0, NI_NUMERICHOST) == 0) puts(text);
	}
	if (err) fprintf(stderr, "%s\n", gai_strerror(err));
	return err == 0 ? 0 : err == EAI_NONAME || err == -5 /* EAI_NODATA */ ? 2 : 1;
}
`

// libraries are the resolvers that programs in pods have: each is the command,
// and environment, that looks a name or an address up.
func libraries(t *testing.T) map[string]func(what string) (args, env []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]func(string) ([]string, []string){
		"glibc": func(what string) ([]string, []string) {
			if net.ParseIP(what) != nil {
				return []string{"getent", "hosts", what}, nil
			}
			return []string{"getent", "ahosts", what}, nil
		},
		"go": func(what string) ([]string, []string) {
			return []string{self}, []string{resolveEnv + "=" + what, "GODEBUG=netdns=go"}
		},
	}
	gcc, err := exec.LookPath("musl-gcc")
	if err != nil {
		t.Run("musl", func(t *testing.T) { t.Skip("no musl-gcc (Debian package musl-tools)") })
		return all
	}
	path := filepath.Join(t.TempDir(), "lookup")
	cmd := exec.Command(gcc, "-static", "-x", "c", "-o", path, "-")
	cmd.Stdin = strings.NewReader(muslLookup)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("musl-gcc: %v\n%s", err, out)
	}
	all["musl"] = func(what string) ([]string, []string) { return []string{path, what}, nil }
	return all
}

// pod is a network namespace and the /etc that its processes see.
type pod struct {
	netns.Namespace
	etc string
}

// newPod makes a pod as a kubelet would, for a namespace of the cluster and
// with the default dnsPolicy ClusterFirst.
func newPod(t *testing.T, n netns.Namespace, namespace, nameserver string) pod {
	t.Helper()
	p := pod{n, t.TempDir()}
	for name, text := range map[string]string{
		"resolv.conf": "search " + namespace + ".svc.cluster.local svc.cluster.local cluster.local\n" +
			"nameserver " + nameserver + "\noptions ndots:5\n",
		"hosts":         "127.0.0.1\tlocalhost\n10.244.0.2\tpod-0\n",
		"nsswitch.conf": "hosts: files dns\n",
	} {
		if err := os.WriteFile(filepath.Join(p.etc, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// run runs a command in the pod and returns the first words of the lines that
// it prints, sorted, or the second words if asked for an address by getent.
func (p pod) run(args, env []string) (string, error) {
	const script = `set -e
for f in resolv.conf hosts nsswitch.conf; do
	if test -e /etc/$f; then mount --bind "$0/$f" /etc/$f; fi
done
exec "$@"`
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", script, p.etc}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := p.Do(cmd.Run)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == notFound {
		return "not found", nil
	}
	if err != nil {
		return "", fmt.Errorf("%v: %w: %s", args, err, complaint.String())
	}
	column := 0
	if slices.Contains(args[:min(2, len(args))], "hosts") {
		column = 1
	}
	var words []string
	for line := range strings.Lines(out.String()) {
		words = append(words, strings.TrimSuffix(strings.Fields(line)[column], "."))
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), " "), nil
}

// TestResolvers has the resolvers of C libraries and of Go look names up as they do
// in pods: by a search path, in a network namespace that reaches the server
// over a network, at the address of the service kube-dns. The server has
// kubeadm's Corefile.
func TestResolvers(t *testing.T) {
	rights := account(t)
	s := newSpace(t, client)
	web := s.create(service("web")).Spec.ClusterIP
	dual := s.create(families(corev1.IPFamilyPolicyPreferDualStack, service("dual"))).Spec.ClusterIPs
	six := s.create(families(corev1.IPFamilyPolicySingleStack, service("six"), corev1.IPv6Protocol)).Spec.ClusterIP
	s.create(headless(service("db")))
	s.createSlice("db", 5432, endpoint("10.244.8.1", "db-0"), endpoint("10.244.8.2", ""), endpoint("10.244.8.3", ""))
	s.create(external("ext", "outside.example"))

	node, inside := netns.New(t), netns.New(t)
	node.Connect(t, inside, "pod", []string{"10.244.0.1/24", "fd00:10:244::1/64"}, []string{"10.244.0.2/24", "fd00:10:244::2/64"})
	nameservers := map[string]string{"10.96.0.10": "10.244.0.1", "fd00:10:96::a": "fd00:10:244::1"}
	for addr, via := range nameservers {
		node.IP(t, "addr", "add", addr, "dev", "lo")
		inside.IP(t, "route", "add", addr, "via", via)
	}
	newResolvers(t, node, map[string]string{resolver: outsideZone})
	newContainer(t, node, filepath.Join(examples, "kubeadm"), rights, "127.0.0.1:53", "http://127.0.0.1:8181/ready")

	svc := "." + s.name + ".svc.cluster.local"
	want := map[string]string{
		"web":                           web,
		"web." + s.name:                 web,
		"web." + s.name + ".svc":        web,
		"web" + svc:                     web,
		"web" + svc + ".":               web,
		"WEB":                           web,
		"kubernetes.default":            serviceHost,
		"dual":                          sorted(dual...),
		"six":                           six,
		"db":                            "10.244.8.1 10.244.8.2 10.244.8.3", // several
		"db-0.db":                       "10.244.8.1",
		"10-244-8-2.db":                 "10.244.8.2",
		"10-244-9-9." + s.name + ".pod": "10.244.9.9",
		"ext":                           sorted("198.51.100.7", "2001:db8::7"),
		"outside.example":               sorted("198.51.100.7", "2001:db8::7"),
		"1.2.3.4.deep.example":          "198.51.100.17", // five dots: asked as it is first
		"pod-0":                         "10.244.0.2",    // /etc/hosts

		"no-such":                 "not found",
		"no-such." + s.name:       "not found",
		"web.no-such-namespace":   "not found",
		"no-such.example":         "not found",
		"1.2.3.4.no-such.example": "not found",
		"web" + svc + ".no-such.": "not found",

		web:            "web" + svc,
		six:            "six" + svc,
		"10.244.8.1":   "db-0.db" + svc,
		"10.244.8.3":   "10-244-8-3.db" + svc,
		"198.51.100.7": "outside.example",
		"10.99.99.99":  "not found",
		"fd00::99":     "not found",
	}
	for name, command := range libraries(t) {
		t.Run(name, func(t *testing.T) {
			asked := 0
			for nameserver := range nameservers {
				p := newPod(t, inside, s.name, nameserver)
				for what, want := range want {
					args, env := command(what)
					got, err := p.run(args, env)
					if err != nil || got != want {
						t.Errorf("%s from %s: %q, want %q (%v)", what, nameserver, got, want, err)
					}
					asked++
				}
			}
			t.Logf("%d lookups", asked)
		})
	}
}

func sorted(words ...string) string {
	slices.Sort(words)
	return strings.Join(words, " ")
}
