package test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "github.com/coredns/coredns/plugin/grpc" // in the binary, and Datadog reads it
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/yaml"

	"github.com/clusterdns/clusterdns/test/dnstext"
	"github.com/clusterdns/clusterdns/test/freeport"
)

// readers are the metrics of CoreDNS that tools read which people have: names
// of metrics only, a histogram's without suffix.
var readers = map[string]string{
	"coredns-mixin": `coredns_panics_total coredns_dns_responses_total coredns_forward_responses_total
		coredns_dns_request_duration_seconds coredns_forward_request_duration_seconds coredns_dns_requests_total
		coredns_forward_requests_total coredns_kubernetes_dns_programming_duration_seconds coredns_plugin_enabled
		coredns_dns_request_size_bytes coredns_dns_response_size_bytes coredns_cache_hits_total
		coredns_cache_misses_total coredns_cache_entries coredns_build_info process_resident_memory_bytes
		process_cpu_seconds_total go_goroutines coredns_forward_healthcheck_failures_total
		coredns_forward_healthcheck_broken_total`,
	// Dashboard 14981 is the same as this one's, 12539, with the names of CoreDNS 1.7.
	"kube-prometheus-stack and dashboard 14981": `coredns_dns_requests_total coredns_dns_do_requests_total
		coredns_dns_request_size_bytes coredns_dns_responses_total coredns_dns_request_duration_seconds
		coredns_dns_response_size_bytes coredns_cache_entries coredns_cache_hits_total coredns_cache_misses_total
		coredns_dns_request_count_total coredns_dns_request_type_count_total coredns_dns_request_do_count_total
		coredns_dns_response_rcode_count_total coredns_cache_size`,
	"dashboard 15762": `coredns_build_info coredns_cache_entries coredns_cache_hits_total coredns_cache_misses_total
		coredns_dns_request_duration_seconds coredns_dns_request_size_bytes coredns_dns_requests_total
		coredns_dns_response_size_bytes coredns_dns_responses_total coredns_proxy_request_duration_seconds
		process_cpu_seconds_total process_resident_memory_bytes`,
	"Datadog": `coredns_acl_allowed_requests_total coredns_acl_blocked_requests_total coredns_acl_dropped_requests_total
		coredns_acl_filtered_requests_total coredns_autopath_success_count_total coredns_autopath_success_total
		coredns_build_info coredns_cache_drops_total coredns_cache_entries coredns_cache_evictions_total
		coredns_cache_hits_total coredns_cache_misses_total coredns_cache_prefetch_total coredns_cache_requests_total
		coredns_cache_served_stale_total coredns_cache_size coredns_dns64_requests_translated_total
		coredns_dns_do_requests_total coredns_dns_https_responses_total coredns_dns_quic_responses_total
		coredns_dns_request_count_total coredns_dns_request_do_count_total coredns_dns_request_duration_seconds
		coredns_dns_request_size_bytes coredns_dns_request_type_count_total coredns_dns_requests_total
		coredns_dns_response_rcode_count_total coredns_dns_response_size_bytes coredns_dns_responses_total
		coredns_dnssec_cache_entries coredns_dnssec_cache_hits_total coredns_dnssec_cache_misses_total
		coredns_dnssec_cache_size coredns_forward_conn_cache_hits_total coredns_forward_conn_cache_misses_total
		coredns_forward_healthcheck_broken_count_total coredns_forward_healthcheck_broken_total
		coredns_forward_healthcheck_failure_count_total coredns_forward_healthcheck_failures_total
		coredns_forward_max_concurrent_reject_count_total coredns_forward_max_concurrent_rejects_total
		coredns_forward_request_count_total coredns_forward_request_duration_seconds coredns_forward_requests_total
		coredns_forward_response_rcode_count_total coredns_forward_responses_total coredns_forward_sockets_open
		coredns_grpc_request_count_total coredns_grpc_request_duration_seconds coredns_grpc_requests_total
		coredns_grpc_response_rcode_count_total coredns_grpc_responses_total coredns_health_request_duration_seconds
		coredns_health_request_failures_total coredns_hosts_entries coredns_hosts_entries_count
		coredns_hosts_reload_timestamp_seconds coredns_kubernetes_dns_programming_duration_seconds
		coredns_kubernetes_rest_client_rate_limiter_duration_seconds
		coredns_kubernetes_rest_client_request_duration_seconds coredns_kubernetes_rest_client_requests_total
		coredns_panic_count_total coredns_panics_total coredns_plugin_enabled coredns_proxy_conn_cache_hits_total
		coredns_proxy_conn_cache_misses_total coredns_proxy_healthcheck_failures_total
		coredns_proxy_request_count_total coredns_proxy_request_duration_seconds coredns_reload_failed_count_total
		coredns_reload_failed_total coredns_reload_version_info coredns_request_allow_count_total
		coredns_request_block_count_total coredns_template_matches_total coredns_template_rr_failures_total
		coredns_template_template_failures_total
		go_gc_duration_seconds go_goroutines go_info go_memstats_alloc_bytes go_memstats_alloc_bytes_total
		go_memstats_heap_inuse_bytes process_cpu_seconds_total process_max_fds process_open_fds
		process_resident_memory_bytes process_start_time_seconds process_virtual_memory_bytes`,
}

// dropped are names that CoreDNS 1.15 no longer has, and what it has instead;
// docs/metrics.md has the same table.
var dropped = map[string]string{
	"coredns_forward_requests_total":             "coredns_proxy_request_duration_seconds_count",
	"coredns_forward_responses_total":            "coredns_proxy_request_duration_seconds_count",
	"coredns_forward_request_duration_seconds":   "coredns_proxy_request_duration_seconds",
	"coredns_forward_healthcheck_failures_total": "coredns_proxy_healthcheck_failures_total",
	"coredns_forward_conn_cache_hits_total":      "coredns_proxy_conn_cache_hits_total",
	"coredns_forward_conn_cache_misses_total":    "coredns_proxy_conn_cache_misses_total",
	"coredns_forward_sockets_open":               "",
}

// before17 are names that CoreDNS dropped in 1.7. All that reads them reads the
// later ones too.
var before17 = regexp.MustCompile(`^coredns_.*_count(_total)?$|^coredns_(dnssec_)?cache_size$`)

// rare metrics have no sample before what they count has happened.
var rare = map[string]string{
	"coredns_acl_blocked_requests_total": "acl", "coredns_acl_allowed_requests_total": "acl",
	"coredns_acl_filtered_requests_total": "acl", "coredns_acl_dropped_requests_total": "acl",
	"coredns_autopath_success_total": "autopath", "coredns_dns64_requests_translated_total": "dns64",
	"coredns_dnssec_cache_entries": "dnssec", "coredns_dnssec_cache_hits_total": "dnssec", "coredns_dnssec_cache_misses_total": "dnssec",
	"coredns_grpc_request_duration_seconds": "grpc", "coredns_grpc_requests_total": "grpc", "coredns_grpc_responses_total": "grpc",
	"coredns_template_matches_total": "template", "coredns_template_template_failures_total": "template", "coredns_template_rr_failures_total": "template",
	"coredns_dns_https_responses_total": "DNS over HTTPS", "coredns_dns_quic_responses_total": "DNS over QUIC",
	"coredns_cache_drops_total": "an answer that does not fit the question", "coredns_cache_evictions_total": "a full cache",
	"coredns_cache_prefetch_total": "prefetch", "coredns_cache_served_stale_total": "serve_stale",
	"coredns_proxy_healthcheck_failures_total":                     "a resolver that is away",
	"coredns_kubernetes_dns_programming_duration_seconds":          "a change by the endpoint controller",
	"coredns_kubernetes_rest_client_rate_limiter_duration_seconds": "a request",
	"coredns_kubernetes_rest_client_request_duration_seconds":      "a request",
	"coredns_kubernetes_rest_client_requests_total":                "a request",
	"coredns_clusterdns_unready_responses_total":                   "a SERVFAIL of an index that is not whole",
	"coredns_reload_version_info":                                  "reload's first look at the Corefile",
}

// live starts a server, has it do most of what has metrics, and returns the
// names that its /metrics has samples of.
func live(t *testing.T) map[string]bool {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, "cluster.yaml", reloadCluster)
	put(t, dir, "hosts", "192.0.2.1 a.example\n")
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	upstream := &dns.Server{PacketConn: udp, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg).SetReply(r)
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: r.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 1)}}
		if err := w.WriteMsg(m); err != nil {
			t.Error(err)
		}
	})}
	done := make(chan error, 1)
	go func() { done <- upstream.ActivateAndServe() }()
	t.Cleanup(func() {
		if err := upstream.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	metrics := freeport.Of(t)
	s := start(t, fmt.Sprintf(`.:0 {
		prometheus 127.0.0.1:%s
		errors
		health 127.0.0.1:%s
		reload
		hosts %s/hosts example {
			fallthrough
		}
		kubernetes cluster.local {
			manifests %s
		}
		cache
		forward . %s
	}`, metrics, freeport.Of(t), dir, dir, udp.LocalAddr()))
	s.expect(t, dnstext.Cluster, "web.shop.svc A", "NOERROR aa rd\nweb.shop.svc A 10.96.0.10")
	for _, name := range []string{"elsewhere.test.", "elsewhere.test.", "other.test."} {
		m := new(dns.Msg).SetQuestion(name, dns.TypeA)
		m.SetEdns0(dns.DefaultMsgSize, true)
		if _, _, err := s.exchange("udp", m); err != nil {
			t.Fatal(err)
		}
	}
	names := map[string]bool{}
	eventually(t, func() string {
		_, body := get(t, fmt.Sprintf("http://127.0.0.1:%s/metrics", metrics))
		for line := range strings.Lines(body) {
			if name := sampleName.FindString(line); name != "" {
				names[name] = true
				for _, suffix := range []string{"_bucket", "_sum", "_count"} {
					names[strings.TrimSuffix(name, suffix)] = true
				}
			}
		}
		if !names["coredns_cache_hits_total"] || !names["coredns_health_request_duration_seconds"] {
			return "no hit of the cache, or no check of health"
		}
		return ""
	})
	return names
}

var sampleName = regexp.MustCompile(`^[a-z][a-z0-9_]*`)

// registered reports whether the process has a metric of the name, with samples
// or not.
func registered(t *testing.T, name string) bool {
	t.Helper()
	probe := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: "Is there one of this name?"})
	if err := prometheus.Register(probe); err != nil {
		return true
	}
	prometheus.Unregister(probe)
	return false
}

// TestReaders asks a live server for every metric that the tools read.
func TestReaders(t *testing.T) {
	names := live(t)
	for tool, read := range readers {
		for _, name := range strings.Fields(read) {
			_, gone := dropped[name]
			switch gone = gone || before17.MatchString(name); {
			case gone && (names[name] || registered(t, name)):
				t.Errorf("%s: %s is there, and in the table of what is not", tool, name)
			case !gone && !names[name] && (rare[name] == "" || !registered(t, name)):
				t.Errorf("%s reads %s, which this server does not have", tool, name)
			}
		}
	}
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, instead := range dropped {
		row := fmt.Sprintf("| `%s` | `%s` |", name, instead)
		if instead == "" {
			row = fmt.Sprintf("| `%s` | nothing |", name)
		} else if base := strings.TrimSuffix(instead, "_count"); !names[base] && rare[base] == "" {
			t.Errorf("%s is not there either", instead)
		}
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/metrics.md has no row %s", row)
		}
	}
}

// word matches what may be the name of a metric in an expression.
var word = regexp.MustCompile(`\b(?:coredns|process|go)_[a-z0-9_]+`)

// TestObservability requires that the expressions of our dashboard and rules
// read metrics that are there, and that every alert has its section.
func TestObservability(t *testing.T) {
	names := live(t)
	check := func(where, expr string) {
		t.Helper()
		for _, name := range word.FindAllString(expr, -1) {
			if strings.HasPrefix(expr[strings.Index(expr, name)+len(name):], ":") {
				continue // a recording rule's
			}
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if base := strings.TrimSuffix(name, suffix); registered(t, base) {
					name = base
				}
			}
			if !names[name] && !registered(t, name) {
				t.Errorf("%s reads %s, which this server does not have", where, name)
			}
		}
	}
	const folder = "../deploy/observability/"
	var rules struct {
		Groups []struct {
			Rules []struct {
				Record, Alert, Expr string
				Annotations         map[string]string
			}
		}
	}
	text, err := os.ReadFile(folder + "rules.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &rules)
	}
	if err != nil {
		t.Fatal(err)
	}
	runbook, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts := map[string]bool{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			check(r.Record+r.Alert, r.Expr)
			if r.Alert == "" {
				continue
			}
			alerts[r.Alert] = true
			if want := "docs/operations.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
				t.Errorf("%s: its runbook is %s, want %s", r.Alert, r.Annotations["runbook"], want)
			}
			if !strings.Contains(string(runbook), "\n### "+r.Alert+"\n") {
				t.Errorf("docs/operations.md has no section %s", r.Alert)
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^### (ClusterDNS\w+)$`).FindAllStringSubmatch(string(runbook), -1) {
		if !alerts[m[1]] {
			t.Errorf("docs/operations.md has a section %s, which is no alert", m[1])
		}
	}

	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text, err = os.ReadFile(folder + "dashboard.json")
	if err == nil {
		err = json.Unmarshal(text, &dashboard)
	}
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			check("panel "+p.Title, target.Expr)
			count++
		}
	}
	if len(alerts) < 10 || count < 30 {
		t.Errorf("only %d alerts and %d expressions", len(alerts), count)
	}
}

// TestMetricsPage requires of docs/metrics.md every metric that the plugin has,
// and no other.
func TestMetricsPage(t *testing.T) {
	names := live(t)
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(coredns_(?:clusterdns|kubernetes)_\\w+)` ").FindAllStringSubmatch(string(text), -1) {
		said[m[1]] = true
		if !registered(t, m[1]) {
			t.Errorf("docs/metrics.md has %s, which is not there", m[1])
		}
	}
	// What has no sample yet is found in the source.
	ours := map[string]bool{}
	for name := range names {
		if strings.HasPrefix(name, "coredns_clusterdns_") || strings.HasPrefix(name, "coredns_kubernetes_") {
			ours[name] = true
		}
	}
	declared := regexp.MustCompile(`desc\("(\w+)"|Subsystem: (directive|"kubernetes"), Name: "(\w+)"`)
	err = filepath.WalkDir("../plugin", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(source), -1) {
			subsystem := "clusterdns_"
			if m[2] == `"kubernetes"` {
				subsystem = "kubernetes_"
			}
			ours["coredns_"+subsystem+m[1]+m[3]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		base := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if !said[name] && !said[base] {
			t.Errorf("docs/metrics.md does not have %s", name)
		}
	}
	if len(ours) < 20 {
		t.Errorf("only %d metrics", len(ours))
	}
}
