package peer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/bench/results"
)

func TestConfiguration(t *testing.T) {
	p := ports{dns: 1053, health: 1054, ready: 1055, metrics: 1056}
	zones := []string{"/z/cluster", "/z/reverse"}
	for _, row := range []struct {
		config  Config
		file    string
		command string
		has     []string
		lacks   []string
	}{
		{
			Config{Name: results.CoreDNS, Binary: "/b/coredns", Dir: "/d", IP: "127.0.0.1", Cores: 1}, "/d/Corefile", "/b/coredns -conf /d/Corefile",
			[]string{".:1053 {\n    bind 127.0.0.1\n", "prometheus 127.0.0.1:1056\n", "health 127.0.0.1:1054\n", "disable denial cluster.local\n", "kubernetes cluster.local in-addr.arpa ip6.arpa {\n        pods insecure\n"},
			[]string{"manifests", "fastlane", "kubeconfig"},
		},
		{
			Config{Name: results.CoreDNSCache, Binary: "/b/coredns", Dir: "/d", IP: "127.0.0.1", Cores: 1}, "/d/Corefile", "/b/coredns -conf /d/Corefile",
			[]string{"\n    cache 30\n    reload\n"}, []string{"disable"},
		},
		{
			Config{Name: results.Chain, Binary: "/b/clusterdns", Dir: "/d", IP: "127.0.0.1", Cores: 1, Manifest: "/w.json", Lane: "off", Plugins: []string{"pprof 127.0.0.1:6"}},
			"/d/Corefile", "/b/clusterdns -conf /d/Corefile",
			[]string{"        manifests /w.json\n        fastlane off\n    }\n", "disable success", "    pprof 127.0.0.1:6\n}\n"}, nil,
		},
		{
			Config{Name: results.NSD, Binary: "/b/nsd", Dir: "/d", IP: "127.0.0.1", Cores: 1, Zones: zones}, "/d/nsd.conf", "/b/nsd -d -c /d/nsd.conf",
			[]string{"ip-address: 127.0.0.1@1053\n", "rrl-ratelimit: 0\n", "server-count: 1\n", "name: cluster.local\n    zonefile: /z/cluster\n", "name: 10.in-addr.arpa\n    zonefile: /z/reverse\n"}, []string{"%!"},
		},
		{
			Config{Name: results.NSD, Binary: "/b/nsd", Dir: "/d", IP: "::1", Cores: 2, Zones: zones}, "/d/nsd.conf", "/b/nsd -d -c /d/nsd.conf",
			[]string{"ip-address: ::1@1053\n", "server-count: 1\n", "minimal-responses: yes\n"}, []string{"%!"},
		},
		{
			Config{Name: results.Knot, Binary: "/b/knotd", Dir: "/d", IP: "::1", Cores: 2, Zones: zones}, "/d/knot.conf", "/b/knotd -c /d/knot.conf",
			[]string{"listen: ::1@1053\n", "udp-workers: 2\n", "tcp-workers: 2\n", "socket-affinity: on\n", "domain: 10.in-addr.arpa\n    file: /z/reverse\n"}, []string{"%!", "rrl"},
		},
		{
			Config{Name: results.Echo, Binary: "/b/echo", Dir: "/d"}, "", "/b/echo -interface veth0 -port 1053", nil, nil,
		},
	} {
		file, content, command := row.config.configuration(p)
		if file != row.file || strings.Join(command, " ") != row.command {
			t.Errorf("%s: file %s, command %v", row.config.Name, file, command)
		}
		for _, s := range row.has {
			if !strings.Contains(content, s) {
				t.Errorf("%s lacks %q:\n%s", row.config.Name, s, content)
			}
		}
		for _, s := range row.lacks {
			if strings.Contains(content, s) {
				t.Errorf("%s has %q:\n%s", row.config.Name, s, content)
			}
		}
	}
}

func TestMetric(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "# TYPE a gauge\na 1.5e+06\n# TYPE ab counter\nab 7\nb{x=\"a b} 9\"} 2\nb{x=\"c\"} 3 1700000000\n")
	}))
	defer server.Close()
	p := &Peer{metrics: strings.TrimPrefix(server.URL, "http://")}
	for name, want := range map[string]float64{"a": 1.5e6, "ab": 7, "b": 5} {
		if got, err := p.Metric(t.Context(), name); got != want || err != nil {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	if _, err := p.Metric(t.Context(), "c"); err == nil {
		t.Error("found a metric that is not there")
	}
}
