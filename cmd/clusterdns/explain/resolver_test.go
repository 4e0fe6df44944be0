package explain

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Which names are asked for, in which order.
func TestCandidates(t *testing.T) {
	for _, row := range []struct {
		name  string
		ndots int
		addr  bool
		want  map[string]string // by library
	}{
		{"web", 5, true, map[string]string{
			"glibc": "web.shop.svc.c. web.svc.c. web.c. web.", "musl": "web.shop.svc.c. web.svc.c. web.c. web.", "go": "web.shop.svc.c. web.svc.c. web.c. web."}},
		{"web.", 5, true, map[string]string{"glibc": "web.", "musl": "web.", "go": "web."}},
		{"web.shop", 1, true, map[string]string{
			"glibc": "web.shop. web.shop.shop.svc.c. web.shop.svc.c. web.shop.c.", "musl": "web.shop.",
			"go": "web.shop. web.shop.shop.svc.c. web.shop.svc.c. web.shop.c."}},
		{"_http._tcp.web", 5, false, map[string]string{"glibc": "_http._tcp.web.shop.svc.c. _http._tcp.web.svc.c. _http._tcp.web.c. _http._tcp.web.", "musl": "_http._tcp.web."}},
		{strings.Repeat(strings.Repeat("a", 61)+".", 4) + "abc", 5, true, map[string]string{"glibc": strings.Repeat(strings.Repeat("a", 61)+".", 4) + "abc.c. " + strings.Repeat(strings.Repeat("a", 61)+".", 4) + "abc."}},
	} {
		for libc, want := range row.want {
			r := inNamespace("shop", "c.")
			r.libc, r.ndots = libc, row.ndots
			if got := strings.Join(r.candidates(row.name, row.addr), " "); got != want {
				t.Errorf("%s, %s:\n%s\nwant\n%s", row.name, libc, got, want)
			}
		}
	}
}

// What each library makes of the replies for A and AAAA.
func TestJudge(t *testing.T) {
	reply := func(word string) answer {
		switch word {
		case "addr":
			return answer{records: []dns.RR{&dns.A{}}}
		case "lost":
			return answer{err: errors.New("timeout")}
		case "nodata":
			return answer{}
		}
		return answer{rcode: dns.StringToRcode[word]}
	}
	for _, row := range []struct {
		replies           string
		glibc, musl, inGo verdict
	}{
		{"addr addr", found, found, found},
		{"addr nodata", found, found, found},
		{"nodata addr", found, found, found},
		{"addr NXDOMAIN", found, goOn, found},
		{"addr SERVFAIL", found, stop, found},
		{"nodata nodata", goOn, stop, goOn},
		{"NXDOMAIN NXDOMAIN", goOn, goOn, goOn},
		{"NXDOMAIN nodata", goOn, goOn, goOn},
		{"nodata NXDOMAIN", goOn, goOn, goOn},
		{"SERVFAIL SERVFAIL", goOn, stop, goOn},
		{"nodata SERVFAIL", goOn, stop, goOn},
		{"REFUSED REFUSED", asIs, stop, goOn},
		{"lost lost", asIs, stop, goOn},
		{"addr", found, found, found},
		{"nodata", goOn, stop, goOn},
	} {
		var replies []answer
		for _, word := range strings.Fields(row.replies) {
			replies = append(replies, reply(word))
		}
		for libc, want := range map[string]verdict{"glibc": row.glibc, "musl": row.musl, "go": row.inGo} {
			if got := (&resolver{libc: libc}).judge(replies); got != want {
				t.Errorf("%s, %s: %d, want %d", row.replies, libc, got, want)
			}
		}
	}
}

// What a pod's spec makes of its resolv.conf.
func TestOfPod(t *testing.T) {
	two := "2"
	for _, row := range []struct {
		name string
		spec corev1.PodSpec
		want string // search path and ndots, or part of an error
	}{
		{"nothing", corev1.PodSpec{}, "shop.svc.c. svc.c. c. 5"},
		{"ClusterFirst", corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst}, "shop.svc.c. svc.c. c. 5"},
		{"host network", corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst, HostNetwork: true}, "it asks the resolvers of its node"},
		{"host network that asks", corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirstWithHostNet, HostNetwork: true}, "shop.svc.c. svc.c. c. 5"},
		{"Default", corev1.PodSpec{DNSPolicy: corev1.DNSDefault}, "dnsPolicy Default"},
		{"None", corev1.PodSpec{DNSPolicy: corev1.DNSNone, DNSConfig: &corev1.PodDNSConfig{Nameservers: []string{"10.96.0.10"}, Searches: []string{"Corp.example"}}}, "corp.example. 1"},
		{"dnsConfig", corev1.PodSpec{DNSConfig: &corev1.PodDNSConfig{Searches: []string{"svc.c", "corp.example"},
			Options: []corev1.PodDNSConfigOption{{Name: "edns0"}, {Name: "ndots", Value: &two}}}}, "shop.svc.c. svc.c. c. corp.example. 2"},
	} {
		r, err := ofPod(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: row.spec}, "c.")
		got := strings.Join(append(r.search, string('0'+rune(r.ndots))), " ")
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != row.want || err != nil && !strings.Contains(got, row.want) {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

// TestRootZone: names below the root end in one dot.
func TestRootZone(t *testing.T) {
	r := inNamespace("shop", ".")
	if want := []string{"shop.svc.", "svc.", "."}; !slices.Equal(r.search, want) {
		t.Errorf("%q, not %q", r.search, want)
	}
}
