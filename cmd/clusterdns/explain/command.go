// Package explain is the subcommand explain: what a pod is answered when it looks
// a name up, and why.
//
// A resolver says which names are asked for, in which order, and when it stops
// (resolver.go). A source answers: a DNS server over the network, or the index of
// a cluster's objects, from an API server or files (source.go). The questions and
// answers of one look-up are a Report.
package explain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/clusterdns/clusterdns/cmd/clusterdns/check"
	"github.com/clusterdns/clusterdns/plugin/kube"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/miekg/dns"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
)

// options are the command line.
type options struct {
	name, qtype, from, libc string
	server                  string
	kubeconfig, context     string
	manifests               []string
	zone, corefile, output  string
	timeout                 time.Duration
}

// Exit statuses.
const (
	exitNotFound = 1
	exitFailed   = 2
)

// status is an exit status; its error has been printed or has no text.
type status struct {
	error
	code int
}

func (s status) ExitCode() int { return s.code }
func (s status) Unwrap() error { return s.error }

var errNotFound = status{errors.New(""), exitNotFound}

// New returns the command. Register is called before a Corefile is read.
func New(register func()) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "explain NAME [--type TYPE] [--from NAMESPACE[/POD]] [--libc LIBC] [-conf FILE] --server ADDRESS | --kubeconfig FILE [--context CONTEXT] | --manifests PATH...",
		Short: "say what a pod is answered when it looks a name up, and why",
		Long: "Looks NAME up as a pod would: with the pod's search path and ndots, in the order of its C library. It shows each question, " +
			"its answer, and the objects that the answer is made from, or why there is none, with the nearest name that there is. " +
			"With -conf it also says whether the fast lane answers or CoreDNS's plugins do, and for which line of the Corefile.\n" +
			"With --server a DNS server is asked. With --kubeconfig or --manifests the answers are made here, as a server would that " +
			"has seen the same objects; what is outside of the cluster's zone is not asked.",
		Example: "  clusterdns explain web --from shop --server 10.96.0.10\n" +
			"  clusterdns explain web --from shop/cart-0 --kubeconfig ~/.kube/config\n" +
			"  clusterdns explain _http._tcp.web.shop.svc.cluster.local. --type SRV --manifests dump.yaml",
		Annotations: map[string]string{"exit status": "0 if the name is found, 1 if it is not, 2 if that could not be found out."},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return status{errors.New("one name is to be given"), exitFailed}
			}
			return nil
		},
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name = args[0]
			ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
			defer cancel()
			report, err := run(ctx, &o, register)
			if err != nil {
				return status{err, exitFailed}
			}
			if err := report.write(cmd.OutOrStdout(), o.output); err != nil {
				return status{err, exitFailed}
			}
			switch report.Result {
			case resultFound:
				return nil
			case resultFailed:
				return status{errors.New(""), exitFailed}
			}
			return errNotFound
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.qtype, "type", "", "the `TYPE` to ask for; A and AAAA unless given")
	f.StringVar(&o.from, "from", "default", "the pod that asks, or its namespace: `NAMESPACE[/POD]`")
	f.StringVar(&o.libc, "libc", "glibc", "the library that the pod looks names up with: `glibc|musl|go`")
	f.StringVar(&o.server, "server", "", "`ADDRESS` of a DNS server, with a port unless that is 53")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` of a cluster")
	f.StringVar(&o.context, "context", "", "`CONTEXT` in the kubeconfig; its current one unless given")
	f.StringSliceVar(&o.manifests, "manifests", nil, "file or folder of objects, as kubectl get -o yaml writes them, or several `PATH`s with commas between")
	f.StringVar(&o.zone, "zone", "cluster.local", "the cluster's `ZONE`")
	f.StringVar(&o.corefile, "conf", "", "the server's Corefile, a `FILE`: options of its stanza count, and it is said who answers and why")
	f.StringVarP(&o.output, "output", "o", "text", "`FORMAT` of the output: text or json")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long it may take in all")
	_ = cmd.MarkFlagFilename("kubeconfig")
	_ = cmd.MarkFlagFilename("conf")
	for flag, values := range map[string][]string{"libc": libcs, "output": {"text", "json"}, "type": {"A", "AAAA", "SRV", "PTR", "CNAME", "TXT"}} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

// check returns what is wrong with the command line.
func (o *options) check() error {
	given := 0
	for _, is := range []bool{o.server != "", o.kubeconfig != "", len(o.manifests) > 0} {
		if is {
			given++
		}
	}
	_, validName := dns.IsDomainName(o.name)
	_, validZone := dns.IsDomainName(o.zone)
	switch {
	case given == 0:
		return errors.New("whom to ask is not given: --server, --kubeconfig or --manifests")
	case given > 1:
		return errors.New("--server, --kubeconfig and --manifests are of different sources: give one")
	case o.context != "" && o.kubeconfig == "":
		return errors.New("--context is one of a --kubeconfig")
	case o.name == "" || !validName:
		return fmt.Errorf("%q is no domain name", o.name)
	case !validZone:
		return fmt.Errorf("--zone %q is no domain name", o.zone)
	case !slices.Contains(libcs, o.libc):
		return fmt.Errorf("--libc %q is none of %s", o.libc, strings.Join(libcs, ", "))
	case o.output != "text" && o.output != "json":
		return fmt.Errorf("%q is no format of output: text or json", o.output)
	case o.qtype != "" && dns.StringToType[strings.ToUpper(o.qtype)] == 0:
		return fmt.Errorf("--type %q is no type of records", o.qtype)
	}
	return nil
}

// run does what the command line says.
func run(ctx context.Context, o *options, register func()) (*Report, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	namespace, podName, ofPod := strings.Cut(strings.ToLower(o.from), "/")
	if namespace == "" || ofPod && podName == "" {
		return nil, fmt.Errorf("--from %q is neither NAMESPACE nor NAMESPACE/POD", o.from)
	}
	if ofPod && o.server != "" {
		return nil, fmt.Errorf("--from %s: what pod it is needs --kubeconfig or --manifests; with --server give its namespace alone", o.from)
	}
	var corefile *check.Report
	opt, kept := kubeadm(o.zone), kube.Config{}
	if o.corefile != "" {
		register()
		var err error
		if corefile, err = o.readCorefile(); err != nil {
			return nil, err
		}
		s, _ := corefile.Stanza(dns.Fqdn(strings.ToLower(o.zone)))
		opt, kept = s.View, s.Kept
	}
	opt.Explain = 1 << 20 // nobody else is waiting
	src, err := o.source(ctx, opt, kept)
	if err != nil {
		return nil, err
	}
	defer src.close()
	r, err := o.resolver(ctx, zone.Key{Namespace: namespace, Name: podName})
	if err != nil {
		return nil, err
	}
	r.libc = o.libc
	types := []uint16{dns.TypeA, dns.TypeAAAA}
	if o.qtype != "" {
		types = []uint16{dns.StringToType[strings.ToUpper(o.qtype)]}
	}
	report := lookUp(ctx, src, &r, strings.ToLower(o.name), types)
	report.From = o.from
	if corefile != nil {
		report.answeredBy(corefile)
	}
	return report, nil
}

// readCorefile returns what there is to say of the Corefile, which has a stanza
// with the zone. Other mistakes in it are the command check's to tell.
func (o *options) readCorefile() (*check.Report, error) {
	text, err := os.ReadFile(o.corefile)
	if err != nil {
		return nil, err
	}
	r := check.Corefile(o.corefile, text)
	if _, ok := r.Stanza(dns.Fqdn(strings.ToLower(o.zone))); !ok {
		if len(r.Errors) > 0 {
			return nil, errors.New(r.Errors[0].String())
		}
		return nil, fmt.Errorf("%s has no stanza clusterdns or kubernetes with the zone %s", o.corefile, o.zone)
	}
	return r, nil
}

// kubeadm returns the options of the stanza in kubeadm's Corefile.
func kubeadm(cluster string) zone.Options {
	return zone.Options{Zones: []string{dns.Fqdn(strings.ToLower(cluster)), "in-addr.arpa.", "ip6.arpa."}, TTL: 30, Pods: zone.PodsInsecure}
}

func (o *options) source(ctx context.Context, opt zone.Options, kept kube.Config) (source, error) {
	switch {
	case o.server != "":
		return newServer(o.server)
	case o.kubeconfig != "":
		kept.Kubeconfig, kept.Context = o.kubeconfig, o.context
		return fromCluster(ctx, kept, opt)
	}
	return fromManifests(o.manifests, kept, opt)
}

// resolver returns that of the pod k, or of a pod of its namespace if it has no
// name.
func (o *options) resolver(ctx context.Context, k zone.Key) (resolver, error) {
	if k.Name == "" {
		return inNamespace(k.Namespace, dns.Fqdn(strings.ToLower(o.zone))), nil
	}
	var pod *corev1.Pod
	var err error
	if o.kubeconfig != "" {
		pod, err = kube.GetPod(ctx, kube.Config{Kubeconfig: o.kubeconfig, Context: o.context}, k)
	} else {
		pod, err = podIn(o.manifests, k)
	}
	if err != nil {
		return resolver{}, err
	}
	return ofPod(pod, dns.Fqdn(strings.ToLower(o.zone)))
}

// lookUp asks src for name as r would.
func lookUp(ctx context.Context, src source, r *resolver, name string, types []uint16) *Report {
	report := &Report{
		Name: name, Libc: r.libc, Search: r.search, Ndots: r.ndots, Notes: r.notes, Source: src.String(), Result: resultNotFound,
		Questions: []Question{},
	}
	if t := src.contact(); !t.IsZero() {
		report.Contact = &t
	}
	addresses := slices.Contains(types, dns.TypeA)
	failed := false
	ask := func(step int, candidate string) verdict {
		var answers []answer
		for _, qtype := range types {
			a := src.ask(ctx, candidate, qtype)
			answers = append(answers, a)
			failed = failed || a.err != nil
			report.Questions = append(report.Questions, newQuestion(step, candidate, qtype, a))
		}
		return r.judge(answers)
	}
	candidates := r.candidates(name, addresses)
	for i, candidate := range candidates {
		switch ask(i+1, candidate) {
		case found:
			report.Result = resultFound
			return report
		case asIs:
			if last := candidates[len(candidates)-1]; last == name+"." && i < len(candidates)-1 && ask(i+2, last) == found {
				report.Result = resultFound
				return report
			}
		case goOn:
			continue
		}
		break
	}
	if failed {
		report.Result = resultFailed
	}
	return report
}
