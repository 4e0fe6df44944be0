package clusterdns

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/clusterdns/clusterdns/plugin/kube"
	"github.com/clusterdns/clusterdns/plugin/lanes"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/coredns/plugin"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/metrics"
)

// Metrics that CoreDNS's kubernetes plugin has, under its names, so that
// dashboards and alerts keep working.
var (
	programmingLatency = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: plugin.Namespace, Subsystem: "kubernetes", Name: "dns_programming_duration_seconds",
		Help:                        "Histogram of the time (in seconds) it took to program a dns instance.",
		Buckets:                     prometheus.ExponentialBuckets(0.001, 2, 20), // 1 ms to about 17 minutes
		NativeHistogramBucketFactor: plugin.NativeHistogramBucketFactor,
	}, []string{"service_kind"})
	requestDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: plugin.Namespace, Subsystem: "kubernetes", Name: "rest_client_request_duration_seconds",
		Help:                        "Request latency in seconds. Broken down by verb and host.",
		Buckets:                     prometheus.DefBuckets,
		NativeHistogramBucketFactor: plugin.NativeHistogramBucketFactor,
	}, []string{"verb", "host"})
	rateLimiterDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: plugin.Namespace, Subsystem: "kubernetes", Name: "rest_client_rate_limiter_duration_seconds",
		Help:                        "Client side rate limiter latency in seconds. Broken down by verb and host.",
		Buckets:                     prometheus.DefBuckets,
		NativeHistogramBucketFactor: plugin.NativeHistogramBucketFactor,
	}, []string{"verb", "host"})
	requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: "kubernetes", Name: "rest_client_requests_total",
		Help: "Number of HTTP requests, partitioned by status code, method, and host.",
	}, []string{"code", "method", "host"})
)

// truncatedTCP counts replies of which TCP could not carry all.
var truncatedTCP = prometheus.NewCounter(prometheus.CounterOpts{
	Namespace: plugin.Namespace, Subsystem: directive, Name: "tcp_truncated_responses_total",
	Help: "Number of responses over TCP that did not fit a DNS message of 65,535 octets.",
})

// unpackable counts replies that are no DNS message.
var unpackable = prometheus.NewCounter(prometheus.CounterOpts{
	Namespace: plugin.Namespace, Subsystem: directive, Name: "unpackable_responses_total",
	Help: "Number of responses that could not be packed into a DNS message, given as SERVFAIL.",
})

// unreadyResponses counts SERVFAILs for want of a resource.
var unreadyResponses = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: plugin.Namespace, Subsystem: directive, Name: "unready_responses_total",
	Help: "Number of SERVFAIL responses given because the resource had not synced.",
}, []string{"resource"})

// register registers c with Prometheus, or returns what is registered in its
// place.
func register[C prometheus.Collector](c C) C {
	err := prometheus.Register(c)
	var before prometheus.AlreadyRegisteredError
	if errors.As(err, &before) {
		if c, ok := before.ExistingCollector.(C); ok {
			return c
		}
	}
	if err != nil {
		panic(err) // a name or label of the tables here is wrong
	}
	return c
}

// registerMetrics is called by the first Setup, not before: in a build that has
// CoreDNS's own kubernetes plugin as well, that registers the metrics of the
// same names when it is linked in, and insists on being the first.
var registerMetrics = sync.OnceFunc(func() {
	programmingLatency = register(programmingLatency)
	requestDuration = register(requestDuration)
	rateLimiterDuration = register(rateLimiterDuration)
	requests = register(requests)
	register(unreadyResponses)
	register(truncatedTCP)
	register(unpackable)
	completed()
	register(feedCollector{})
	register(lanes.Collector{})
	metrics.Register(metrics.RegisterOpts{
		RequestLatency:     latency{requestDuration},
		RateLimiterLatency: latency{rateLimiterDuration},
		RequestResult:      result{requests},
	})
})

// latency and result adapt Prometheus metrics to client-go's interfaces.
type latency struct{ *prometheus.HistogramVec }

func (l latency) Observe(_ context.Context, verb string, u url.URL, d time.Duration) {
	l.WithLabelValues(verb, strings.ToValidUTF8(u.Host, "\uFFFD")).Observe(d.Seconds())
}

type result struct{ *prometheus.CounterVec }

func (r result) Increment(_ context.Context, code, method, host string) {
	r.WithLabelValues(code, method, strings.ToValidUTF8(host, "\uFFFD")).Inc()
}

func observeProgrammed(kind zone.Kind, d time.Duration) {
	label := "cluster_ip"
	if kind == zone.Headless {
		label = "headless_with_selector"
	}
	programmingLatency.WithLabelValues(label).Observe(d.Seconds())
}

// feedCollector reads the state of every feed in use, and of the negative
// caches, when Prometheus asks.
type feedCollector struct{}

// feedMetric is a metric that each resource of each feed has.
type feedMetric struct {
	desc  *prometheus.Desc
	typ   prometheus.ValueType
	value func(kube.Status) float64
	label string // of a second kind, if it has one
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(plugin.Namespace, directive, name), help, labels, nil)
}

var feedLabels = []string{"source", "resource"}

var eventsDesc = desc("events_total", "Number of watch events applied to the index.", "source", "resource", "type")

var feedMetrics = []feedMetric{
	{desc("objects", "Number of objects in the index.", feedLabels...), prometheus.GaugeValue,
		func(s kube.Status) float64 { return float64(s.Objects) }, ""},
	{desc("synced", "Whether the index has had the whole of the resource.", feedLabels...), prometheus.GaugeValue,
		func(s kube.Status) float64 {
			if s.Synced {
				return 1
			}
			return 0
		}, ""},
	{desc("lists_total", "Number of times the resource was listed or loaded whole.", feedLabels...), prometheus.CounterValue,
		func(s kube.Status) float64 { return float64(s.Lists) }, ""},
	{desc("resource_version", "The resourceVersion up to which the resource is followed.", feedLabels...), prometheus.GaugeValue,
		func(s kube.Status) float64 {
			v, _ := strconv.ParseFloat(s.ResourceVersion, 64) // 0 before the first list
			return v
		}, ""},
	{desc("last_event_timestamp_seconds", "When the resource last changed, in Unix time; 0 for never.", feedLabels...), prometheus.GaugeValue,
		func(s kube.Status) float64 { return unixSeconds(s.LastEvent) }, ""},
	{desc("last_contact_timestamp_seconds", "When the feed last heard of its source, bookmarks included, in Unix time; 0 for never.", feedLabels...), prometheus.GaugeValue,
		func(s kube.Status) float64 { return unixSeconds(s.LastContact) }, ""},
	{desc("stale_since_timestamp_seconds", "When stale answers were last known to be right, in Unix time; 0 if they are not stale.", feedLabels...), prometheus.GaugeValue,
		func(s kube.Status) float64 { return unixSeconds(s.StaleSince) }, ""},
	{eventsDesc, prometheus.CounterValue, func(s kube.Status) float64 { return float64(s.Added) }, "added"},
	{eventsDesc, prometheus.CounterValue, func(s kube.Status) float64 { return float64(s.Modified) }, "modified"},
	{eventsDesc, prometheus.CounterValue, func(s kube.Status) float64 { return float64(s.Deleted) }, "deleted"},
}

var (
	leftOutDesc      = desc("left_out_records_total", "Number of records left out of answers because a name in them would have more than 255 octets.", "source")
	refusedDesc      = desc("refused_hostnames_total", "Number of EndpointSlices that came with a hostname that is no label of a domain name.", "source")
	refusedHostsDesc = desc("refused_host_names_total", "Number of objects that came with a host name that is none.", "source")
	contestedDesc    = desc("contested_host_names", "Number of host names that objects claim which do not agree on where they lead.", "source")
	contestDesc      = desc("contested_host_name_claim", "Always 1: an object that claims a contested host name. The oldest has it. At most 100 names, and 10 objects of each.",
		"source", "host", "resource", "namespace", "name")
	serialDesc  = desc("serial", "The serial of SOA records.", "source")
	hitsDesc    = desc("negative_cache_hits_total", "Number of negative answers taken from the cache.")
	missesDesc  = desc("negative_cache_misses_total", "Number of questions to which the cache held no negative answer.")
	invalidDesc = desc("negative_cache_invalidations_total", "Number of cached negative answers found to hold no longer.")
	entriesDesc = desc("negative_cache_entries", "Number of negative answers in the cache.")
)

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// Describe implements prometheus.Collector.
func (feedCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range feedMetrics {
		ch <- m.desc
	}
	for _, d := range []*prometheus.Desc{leftOutDesc, refusedDesc, refusedHostsDesc, contestedDesc, contestDesc, serialDesc, hitsDesc, missesDesc, invalidDesc, entriesDesc} {
		ch <- d
	}
	describeSnapshot(ch)
}

// Collect implements prometheus.Collector.
func (feedCollector) Collect(ch chan<- prometheus.Metric) {
	claims.Lock()
	defer claims.Unlock()
	var negative zone.NegativeStats
	seen := map[string]bool{} // sources
	for _, c := range claims.list {
		negative.Add(c.h.negatives.stats())
		if c.h.external != nil {
			negative.Add(c.h.external.negatives.stats())
		}
		for _, feed := range c.feeds() {
			if source := feed.Source(); !seen[source] {
				seen[source] = true
				collectFeed(ch, feed)
			}
		}
	}
	ch <- prometheus.MustNewConstMetric(hitsDesc, prometheus.CounterValue, float64(negative.Hits))
	ch <- prometheus.MustNewConstMetric(missesDesc, prometheus.CounterValue, float64(negative.Misses))
	ch <- prometheus.MustNewConstMetric(invalidDesc, prometheus.CounterValue, float64(negative.Invalidations))
	ch <- prometheus.MustNewConstMetric(entriesDesc, prometheus.GaugeValue, float64(negative.Size))
}

func collectFeed(ch chan<- prometheus.Metric, feed *kube.Feed) {
	for _, s := range feed.Status() {
		for _, m := range feedMetrics {
			labels := []string{s.Source, s.Resource.String()}
			if m.label != "" {
				labels = append(labels, m.label)
			}
			ch <- prometheus.MustNewConstMetric(m.desc, m.typ, m.value(s), labels...)
		}
	}
	ix := feed.Index()
	ch <- prometheus.MustNewConstMetric(serialDesc, prometheus.GaugeValue, float64(ix.Serial()), feed.Source())
	ch <- prometheus.MustNewConstMetric(leftOutDesc, prometheus.CounterValue, float64(ix.LeftOut()), feed.Source())
	refused, _ := ix.RefusedNames()
	ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(refused), feed.Source())
	collectSnapshot(ch, feed)
	refused, _ = ix.RefusedHosts()
	ch <- prometheus.MustNewConstMetric(refusedHostsDesc, prometheus.CounterValue, float64(refused), feed.Source())
	n, contests := ix.Contested(maxContests)
	ch <- prometheus.MustNewConstMetric(contestedDesc, prometheus.GaugeValue, float64(n), feed.Source())
	for _, contest := range contests {
		for _, c := range contest.Claims[:min(len(contest.Claims), maxContestants)] {
			ch <- prometheus.MustNewConstMetric(contestDesc, prometheus.GaugeValue, 1,
				feed.Source(), contest.Host, c.Of.String(), c.Namespace, c.Name)
		}
	}
}

// maxContests and maxContestants bound what metrics and the log say of contested
// host names: whoever writes objects could have any number of them.
const maxContests, maxContestants = 100, 10
