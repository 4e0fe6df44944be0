package lanes

import (
	"strconv"

	"github.com/clusterdns/clusterdns/plugin/fastlane"

	"github.com/coredns/coredns/plugin"
	"github.com/prometheus/client_golang/prometheus"
)

// Collector reads the counters of the fast lanes when Prometheus asks. It waits
// for nobody.
type Collector struct{}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(plugin.Namespace, "clusterdns", name), help, labels, nil)
}

// laneMetric is a metric that the lane at each address has.
type laneMetric struct {
	desc  *prometheus.Desc
	typ   prometheus.ValueType
	value func(*State, fastlane.Stats) float64
}

var laneMetrics = []laneMetric{
	{desc("fastlane_open", "Whether the fast lane at the address is open.", "server"), prometheus.GaugeValue,
		func(at *State, _ fastlane.Stats) float64 {
			if at.Open {
				return 1
			}
			return 0
		}},
	{desc("fastlane_sockets", "Number of UDP sockets that the fast lane has open.", "server"), prometheus.GaugeValue,
		func(_ *State, s fastlane.Stats) float64 { return float64(s.Sockets) }},
	{desc("fastlane_connections", "Number of TCP connections that the fast lane has open.", "server"), prometheus.GaugeValue,
		func(_ *State, s fastlane.Stats) float64 { return float64(s.Streams) }},
	{desc("fastlane_answered_total", "Number of queries that the fast lane answered.", "server"), prometheus.CounterValue,
		func(at *State, _ fastlane.Stats) float64 { return float64(at.Counts.Answered()) }},
	{desc("fastlane_stalled_total", "Number of times that the fast lane was closed because it did not answer.", "server"), prometheus.CounterValue,
		func(at *State, _ fastlane.Stats) float64 { return float64(at.Stalled) }},
	{desc("fastlane_panics_total", "Number of queries lost to a panic in the fast lane since it was opened.", "server"), prometheus.CounterValue,
		func(_ *State, s fastlane.Stats) float64 { return float64(s.Panics) }},
	{desc("fastlane_unsent_total", "Number of replies that could not be sent since the fast lane was opened.", "server"), prometheus.CounterValue,
		func(_ *State, s fastlane.Stats) float64 { return float64(s.Unsent) }},
	{desc("fastlane_passed", "Number of messages that the fast lane has passed on to the plugin chain and that have no answer yet.", "server"), prometheus.GaugeValue,
		func(_ *State, s fastlane.Stats) float64 { return float64(s.Passed) }},
	{desc("fastlane_passed_drops_total", "Number of datagrams dropped because too many messages were with the plugin chain, since the fast lane was opened.", "server"), prometheus.CounterValue,
		func(_ *State, s fastlane.Stats) float64 { return float64(s.Dropped) }},
	{desc("fastlane_errors_total", "Number of errors of receiving and sending since the fast lane was opened.", "server"), prometheus.CounterValue,
		func(_ *State, s fastlane.Stats) float64 { return float64(s.Errors) }},
}

// kernelMetrics are those of addresses where the kernel is to answer, or did.
var kernelMetrics = []laneMetric{
	{desc("fastlane_kernel_open", "Whether the kernel answers queries in front of the fast lane.", "server"), prometheus.GaugeValue,
		func(at *State, _ fastlane.Stats) float64 {
			if open, _, _ := at.Kernel(); open {
				return 1
			}
			return 0
		}},
	{desc("fastlane_kernel_names", "Number of namespaces and services that the kernel knows.", "server"), prometheus.GaugeValue,
		func(at *State, _ fastlane.Stats) float64 {
			_, names, _ := at.Kernel()
			return float64(names)
		}},
	{desc("fastlane_kernel_answered_total", "Number of queries that the kernel answered.", "server"), prometheus.CounterValue,
		func(at *State, _ fastlane.Stats) float64 { return float64(at.Counts.InKernel()) }},
}

var (
	passedDesc   = desc("fastlane_kernel_passed_total", "Number of packets for the server that the kernel left to the sockets.", "server", "reason")
	declinedDesc = desc("fastlane_declined_total", "Number of messages that the fast lane left to the plugin chain.", "server", "reason")
	overflowDesc = desc("fastlane_receive_drops_total", "Number of datagrams that the kernel dropped before they were received, since the fast lane was opened, by the queue of their sender's address.", "server", "queue")
	batchDesc    = desc("fastlane_batch_size", "Histogram of the number of datagrams received at once, since the fast lane was opened.", "server")
)

// Describe implements prometheus.Collector.
func (Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range laneMetrics {
		ch <- m.desc
	}
	for _, m := range kernelMetrics {
		ch <- m.desc
	}
	ch <- passedDesc
	ch <- declinedDesc
	ch <- overflowDesc
	ch <- batchDesc
}

// Collect implements prometheus.Collector.
func (Collector) Collect(ch chan<- prometheus.Metric) {
	for _, at := range States() {
		server := "dns://" + at.Addr // as CoreDNS's metrics have it
		var stats fastlane.Stats
		if at.lane != nil {
			stats = at.lane.Stats()
			count, sum, buckets := batchSizes(stats)
			ch <- prometheus.MustNewConstHistogram(batchDesc, count, sum, buckets, server)
			for queue, n := range stats.Overflow {
				ch <- prometheus.MustNewConstMetric(overflowDesc, prometheus.CounterValue, float64(n), server, strconv.Itoa(queue))
			}
		}
		for _, m := range laneMetrics {
			ch <- prometheus.MustNewConstMetric(m.desc, m.typ, m.value(&at, stats), server)
		}
		if _, _, wanted := at.Kernel(); wanted || at.Counts.InKernel() > 0 {
			for _, m := range kernelMetrics {
				ch <- prometheus.MustNewConstMetric(m.desc, m.typ, m.value(&at, stats), server)
			}
		}
		for reason, n := range at.Counts.Passed {
			ch <- prometheus.MustNewConstMetric(passedDesc, prometheus.CounterValue, float64(n), server, reason)
		}
		for reason, n := range at.Counts.Declined {
			ch <- prometheus.MustNewConstMetric(declinedDesc, prometheus.CounterValue, float64(n), server, reason)
		}
	}
}

// batchSizes returns a histogram of the sizes of batches: their number, how
// many datagrams they had, and how many were no larger than each bound.
func batchSizes(s fastlane.Stats) (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = map[float64]uint64{}
	for i, n := range s.Batches {
		count += n
		buckets[float64(uint(2)<<i-1)] = count // 2^i to 2^(i+1)-1
	}
	return count, float64(s.Datagrams), buckets
}
