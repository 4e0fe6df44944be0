package test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/test/dnstext"
	"github.com/clusterdns/clusterdns/test/freeport"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// scrape returns the samples of our counters and gauges, by name and labels.
func scrape(t testing.TB) map[string]float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	samples := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			value := m.GetCounter().GetValue()
			if f.GetType() == dto.MetricType_GAUGE {
				value = m.GetGauge().GetValue()
			}
			samples[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = value
		}
	}
	return samples
}

// get returns status and body.
func get(t testing.TB, url string) (int, string) {
	t.Helper()
	var status int
	var body []byte
	eventually(t, func() string { // the plugins open their ports when they please
		resp, err := http.Get(url)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		status = resp.StatusCode
		if body, err = io.ReadAll(resp.Body); err != nil {
			return err.Error()
		}
		return ""
	})
	return status, string(body)
}

// Over HTTP, as Prometheus and the kubelet have them.
func TestMetricsAndReadiness(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "cluster.yaml", reloadCluster)
	for _, word := range []string{"clusterdns", "kubernetes"} {
		metrics, ready := freeport.Of(t), freeport.Of(t)
		s := start(t, fmt.Sprintf(`.:0 {
			prometheus 127.0.0.1:%s
			ready 127.0.0.1:%s
			k8s_external example.org
			%s cluster.local {
				manifests %s
			}
		}`, metrics, ready, word, dir))
		s.expect(t, dnstext.Cluster, "web.shop.svc A", "NOERROR aa rd\nweb.shop.svc A 10.96.0.10")
		s.expect(t, dnstext.Cluster, "nothing.shop.svc A", "NXDOMAIN aa rd soa")
		s.expect(t, dnstext.Context{Origin: "example.org.", TTL: 5}, "web.shop A",
			"NXDOMAIN aa rd\n;; authority\n@ SOA ns1.dns hostmaster.dns 0 7200 1800 86400 5")
		if status, body := get(t, fmt.Sprintf("http://127.0.0.1:%s/ready", ready)); status != http.StatusOK {
			t.Errorf("ready: %d %s", status, body)
		}
		_, body := get(t, fmt.Sprintf("http://127.0.0.1:%s/metrics", metrics))
		lines := strings.Split(body, "\n")
		for _, want := range []string{
			fmt.Sprintf("coredns_clusterdns_objects{resource=\"services\",source=%q} 3", dir),
			fmt.Sprintf("coredns_clusterdns_synced{resource=\"endpointslices\",source=%q} 1", dir),
			fmt.Sprintf("coredns_plugin_enabled{name=%q,server=%q,view=\"\",zone=\".\"} 1", word, "dns://:0"),
			"coredns_clusterdns_negative_cache_entries 2", // of both stanzas
		} {
			if !slices.Contains(lines, want) {
				t.Errorf("%s: no line %s among\n%s", word, want, strings.Join(slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
					return !strings.HasPrefix(l, "coredns_clusterdns") && !strings.HasPrefix(l, "coredns_plugin")
				}), "\n"))
			}
		}
		s.stop(t)
	}
}

// An API server that is not there: SERVFAIL, not ready, and the reason in the
// log and the metrics.
func TestNotReady(t *testing.T) {
	ready := freeport.Of(t)
	_, at := logged.since(0)
	s := start(t, fmt.Sprintf(`.:0 {
		ready 127.0.0.1:%s
		clusterdns cluster.local in-addr.arpa {
			endpoint http://127.0.0.1:%s
			startup_timeout 50ms
			fallthrough
		}
		whoami
	}`, ready, freeport.Of(t)))
	blocked := `coredns_clusterdns_unready_responses_total{resource=namespaces}`
	before := scrape(t)[blocked]
	for _, q := range []string{"web.shop.svc A", "nothing.shop.svc TXT", "@ A", "10.0.96.10.in-addr.arpa. PTR"} {
		zone := dnstext.Cluster
		if strings.HasSuffix(q, "PTR") {
			zone.Origin = "in-addr.arpa."
		}
		s.expect(t, zone, q, "SERVFAIL aa rd soa")
	}
	if got := scrape(t)[blocked] - before; got != 4 {
		t.Errorf("%s rose by %v, want 4", blocked, got)
	}
	if status, body := get(t, fmt.Sprintf("http://127.0.0.1:%s/ready", ready)); status == http.StatusOK || !strings.Contains(body, "clusterdns") {
		t.Errorf("ready: %d %s", status, body)
	}
	for _, want := range []string{
		"Starting without a complete index", "namespaces not synced", // at once
		"Cannot get services of http://127.0.0.1:", "connection refused", // when there was an answer
	} {
		eventually(t, func() string {
			if text, _ := logged.since(at); !strings.Contains(text, want) {
				return "the log has no " + want + ":\n" + text
			}
			return ""
		})
	}
}
