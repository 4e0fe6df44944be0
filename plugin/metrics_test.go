package clusterdns

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/client-go/tools/metrics"
)

// gather returns our metrics, as Prometheus scrapes them, by name.
func gather(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	all, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]*dto.MetricFamily{}
	for _, f := range all {
		if strings.HasPrefix(f.GetName(), "coredns_clusterdns_") || strings.HasPrefix(f.GetName(), "coredns_kubernetes_") {
			ours[f.GetName()] = f
		}
	}
	return ours
}

// sample returns the value of a metric with these labels, given as name,
// value, name, value…; of a histogram, how often it was observed.
func sample(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	f := families[name]
	if f == nil {
		t.Fatalf("no metric %s", name)
	}
	for _, m := range f.GetMetric() {
		var got []string
		for _, l := range m.GetLabel() {
			got = append(got, l.GetName(), l.GetValue())
		}
		if !slices.Equal(got, labels) {
			continue
		}
		switch f.GetType() {
		case dto.MetricType_COUNTER:
			return m.GetCounter().GetValue()
		case dto.MetricType_HISTOGRAM:
			return float64(m.GetHistogram().GetSampleCount())
		default:
			return m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s with labels %q among %v", name, labels, f.GetMetric())
	return 0
}

// useAll uses every metric, so that it has something to show.
func useAll(t *testing.T) *Handler {
	t.Helper()
	registerMetrics() // as Setup does
	h, err := started(t, "clusterdns cluster.local {\nmanifests "+manifestsFolder(t)+"\nnegative_cache 8\n}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := started(t, "clusterdns other.local {\nendpoint http://127.0.0.1:1\nstartup_timeout 0s\nsnapshot "+t.TempDir()+"\n}"); err != nil {
		t.Fatal(err)
	}
	unreadyResponses.WithLabelValues("services").Add(0)
	observeProgrammed(zone.Headless, time.Second)
	observeProgrammed(zone.ClusterIP, time.Second)
	server := url.URL{Scheme: "https", Host: "10.96.0.1:443"}
	metrics.RequestLatency.Observe(context.Background(), "GET", server, time.Second)
	metrics.RateLimiterLatency.Observe(context.Background(), "GET", server, time.Second)
	metrics.RequestResult.Increment(context.Background(), "200", "GET", server.Host)
	return h
}

func TestMetricNames(t *testing.T) {
	useLane(t) // which gives up what no instance has
	useAll(t)
	families := gather(t)
	for name, labels := range map[string]string{
		"coredns_clusterdns_objects":                                   "resource source",
		"coredns_clusterdns_synced":                                    "resource source",
		"coredns_clusterdns_lists_total":                               "resource source",
		"coredns_clusterdns_events_total":                              "resource source type",
		"coredns_clusterdns_resource_version":                          "resource source",
		"coredns_clusterdns_last_event_timestamp_seconds":              "resource source",
		"coredns_clusterdns_last_contact_timestamp_seconds":            "resource source",
		"coredns_clusterdns_stale_since_timestamp_seconds":             "resource source",
		"coredns_clusterdns_snapshot_load_failures":                    "reason source",
		"coredns_clusterdns_snapshot_saves_total":                      "source",
		"coredns_clusterdns_snapshot_save_errors_total":                "source",
		"coredns_clusterdns_snapshot_last_save_timestamp_seconds":      "source",
		"coredns_clusterdns_snapshot_size_bytes":                       "source",
		"coredns_clusterdns_serial":                                    "source",
		"coredns_clusterdns_negative_cache_hits_total":                 "",
		"coredns_clusterdns_negative_cache_misses_total":               "",
		"coredns_clusterdns_negative_cache_invalidations_total":        "",
		"coredns_clusterdns_negative_cache_entries":                    "",
		"coredns_clusterdns_unready_responses_total":                   "resource",
		"coredns_clusterdns_tcp_truncated_responses_total":             "",
		"coredns_clusterdns_unpackable_responses_total":                "",
		"coredns_clusterdns_left_out_records_total":                    "source",
		"coredns_clusterdns_refused_hostnames_total":                   "source",
		"coredns_clusterdns_refused_host_names_total":                  "source",
		"coredns_clusterdns_contested_host_names":                      "source",
		"coredns_clusterdns_fastlane_open":                             "server",
		"coredns_clusterdns_fastlane_sockets":                          "server",
		"coredns_clusterdns_fastlane_connections":                      "server",
		"coredns_clusterdns_fastlane_answered_total":                   "server",
		"coredns_clusterdns_fastlane_declined_total":                   "reason server",
		"coredns_clusterdns_fastlane_batch_size":                       "server",
		"coredns_clusterdns_fastlane_stalled_total":                    "server",
		"coredns_clusterdns_fastlane_panics_total":                     "server",
		"coredns_clusterdns_fastlane_errors_total":                     "server",
		"coredns_clusterdns_fastlane_unsent_total":                     "server",
		"coredns_clusterdns_fastlane_passed":                           "server",
		"coredns_clusterdns_fastlane_passed_drops_total":               "server",
		"coredns_clusterdns_fastlane_receive_drops_total":              "queue server",
		"coredns_clusterdns_fastlane_kernel_open":                      "server",
		"coredns_clusterdns_fastlane_kernel_names":                     "server",
		"coredns_clusterdns_fastlane_kernel_answered_total":            "server",
		"coredns_clusterdns_fastlane_kernel_passed_total":              "reason server",
		"coredns_kubernetes_dns_programming_duration_seconds":          "service_kind",
		"coredns_kubernetes_rest_client_request_duration_seconds":      "host verb",
		"coredns_kubernetes_rest_client_rate_limiter_duration_seconds": "host verb",
		"coredns_kubernetes_rest_client_requests_total":                "code host method",
	} {
		f := families[name]
		if f == nil {
			t.Errorf("no metric %s", name)
			continue
		}
		delete(families, name)
		for _, m := range f.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetName())
			}
			if strings.Join(got, " ") != labels {
				t.Errorf("%s has the labels %q, want %q", name, got, labels)
			}
		}
	}
	for name := range families {
		t.Errorf("%s is not in this table", name)
	}
}

// TestMetricLint applies what Prometheus recommends of names and help texts, as
// CoreDNS's test/metric_naming_test.go does.
func TestMetricLint(t *testing.T) {
	useLane(t) // which gives up what no instance has
	useAll(t)
	var families []*dto.MetricFamily
	for _, f := range gather(t) {
		families = append(families, f)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestMetricValues(t *testing.T) {
	before := time.Now()
	h := useAll(t)
	source := h.feed.Status()[0].Source
	families := gather(t)
	for _, row := range []struct {
		name, resource string
		want           float64
	}{
		{"objects", "services", 1}, {"objects", "namespaces", 1}, {"objects", "endpointslices", 0}, {"objects", "pods", 0},
		{"synced", "services", 1}, {"synced", "pods", 1}, {"lists_total", "services", 1},
	} {
		if got := sample(t, families, "coredns_clusterdns_"+row.name, "resource", row.resource, "source", source); got != row.want {
			t.Errorf("%s of %s: got %v, want %v", row.name, row.resource, got, row.want)
		}
	}
	if got := sample(t, families, "coredns_clusterdns_serial", "source", source); got != float64(h.view.Index().Serial()) || got == 0 {
		t.Errorf("serial %v, that of the index is %d", got, h.view.Index().Serial())
	}
	for _, name := range []string{"last_event", "last_contact"} {
		got := sample(t, families, "coredns_clusterdns_"+name+"_timestamp_seconds", "resource", "services", "source", source)
		if got < float64(before.Unix()) || got > float64(time.Now().Unix()+1) {
			t.Errorf("%s at %v, now it is %d", name, got, time.Now().Unix())
		}
	}
	if got := sample(t, families, "coredns_clusterdns_resource_version", "resource", "services", "source", source); got == 0 {
		t.Error("resource_version is 0")
	}

	// The negative caches' counts are those of all stanzas together.
	other, err := started(t, "kubernetes other.local {\nmanifests "+manifestsFolder(t)+"\n}")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ask(t, h, dnstext.Cluster.Query(t, "nothing.shop.svc A"))
		ask(t, other, dnstext.Cluster.Query(t, "nothing.shop.svc.other.local. A"))
	}
	families = gather(t)
	for name, want := range map[string]float64{"hits_total": 4, "misses_total": 2, "invalidations_total": 0, "entries": 2} {
		if got := sample(t, families, "coredns_clusterdns_negative_cache_"+name); got != want {
			t.Errorf("negative_cache_%s: got %v, want %v", name, got, want)
		}
	}

	// A feed that nobody holds is not shown.
	giveUp(func(of *Handler) bool { return of == h })
	for _, m := range gather(t)["coredns_clusterdns_synced"].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetValue() == source {
				t.Errorf("%v is shown after its release", m)
			}
		}
	}
}

// What client-go reports, and how long endpoints took, arrive under the names
// that CoreDNS's kubernetes plugin has.
func TestStockMetrics(t *testing.T) {
	useAll(t)
	first := gather(t)
	useAll(t)
	second := gather(t)
	for _, row := range []struct {
		name   string
		labels []string
	}{
		{"coredns_kubernetes_dns_programming_duration_seconds", []string{"service_kind", "cluster_ip"}},
		{"coredns_kubernetes_dns_programming_duration_seconds", []string{"service_kind", "headless_with_selector"}},
		{"coredns_kubernetes_rest_client_request_duration_seconds", []string{"host", "10.96.0.1:443", "verb", "GET"}},
		{"coredns_kubernetes_rest_client_rate_limiter_duration_seconds", []string{"host", "10.96.0.1:443", "verb", "GET"}},
		{"coredns_kubernetes_rest_client_requests_total", []string{"code", "200", "host", "10.96.0.1:443", "method", "GET"}},
	} {
		if got := sample(t, second, row.name, row.labels...) - sample(t, first, row.name, row.labels...); got != 1 {
			t.Errorf("%s%q rose by %v, want 1", row.name, row.labels, got)
		}
	}
}
