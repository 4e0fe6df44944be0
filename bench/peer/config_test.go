package peer

import (
	"os"
	"path/filepath"
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
			Config{Name: results.CoreDNS, Binary: "/b/coredns", Dir: "/d"}, "/d/Corefile", "/b/coredns -conf /d/Corefile",
			[]string{".:1053 {\n    bind 127.0.0.1\n", "prometheus 127.0.0.1:1056\n", "health 127.0.0.1:1054\n", "disable denial cluster.local\n", "kubernetes cluster.local in-addr.arpa ip6.arpa {\n        pods insecure\n"},
			[]string{"manifests", "fastlane", "kubeconfig"},
		},
		{
			Config{Name: results.CoreDNSCache, Binary: "/b/coredns", Dir: "/d"}, "/d/Corefile", "/b/coredns -conf /d/Corefile",
			[]string{"\n    cache 30\n    reload\n"}, []string{"disable"},
		},
		{
			Config{Name: results.Chain, Binary: "/b/clusterdns", Dir: "/d", Manifest: "/w.json", NoLane: true, Plugins: []string{"pprof 127.0.0.1:6"}},
			"/d/Corefile", "/b/clusterdns -conf /d/Corefile",
			[]string{"        manifests /w.json\n        fastlane off\n    }\n", "disable success", "    pprof 127.0.0.1:6\n}\n"}, nil,
		},
		{
			Config{Name: results.NSD, Binary: "/b/nsd", Dir: "/d", Zones: zones}, "/d/nsd.conf", "/b/nsd -d -c /d/nsd.conf",
			[]string{"ip-address: 127.0.0.1@1053\n", "rrl-ratelimit: 0\n", "server-count: 1\n", "name: cluster.local\n    zonefile: /z/cluster\n", "name: 10.in-addr.arpa\n    zonefile: /z/reverse\n"}, []string{"%!"},
		},
		{
			Config{Name: results.Knot, Binary: "/b/knotd", Dir: "/d", Zones: zones}, "/d/knot.conf", "/b/knotd -c /d/knot.conf",
			[]string{"listen: 127.0.0.1@1053\n", "udp-workers: 1\n", "tcp-workers: 1\n", "domain: 10.in-addr.arpa\n    file: /z/reverse\n"}, []string{"%!", "rrl"},
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

// TestHasFastLane has programs that complain as CoreDNS does.
func TestHasFastLane(t *testing.T) {
	for says, want := range map[string]bool{
		`plugin/clusterdns: Corefile:3 - Error during parsing: unknown option "fastlane"`:       false,
		`plugin/clusterdns: Corefile:4 - Error during parsing: unknown option "no_such_option"`: true,
	} {
		dir := t.TempDir()
		program := filepath.Join(dir, "program")
		if err := os.WriteFile(program, []byte("#!/bin/sh\necho '"+says+"'\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if got, err := HasFastLane(program, dir); got != want || err != nil {
			t.Errorf("%s: %v, %v", says, got, err)
		}
	}
	if _, err := HasFastLane("true", t.TempDir()); err == nil {
		t.Error("no error for a program that does not complain")
	}
}

func TestParseMetric(t *testing.T) {
	const text = "# TYPE a gauge\na 1.5e+06\nab 7\nb{x=\"a b} 9\"} 2\nb{x=\"c\"} 3 1700000000\n"
	for name, want := range map[string]float64{"a": 1.5e6, "ab": 7, "b": 5} {
		if got, found := parseMetric(text, name); got != want || !found {
			t.Errorf("%s: %v, %v, want %v", name, got, found, want)
		}
	}
	if _, found := parseMetric(text, "c"); found {
		t.Error("found a metric that is not there")
	}
}
