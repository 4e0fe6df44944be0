package report

import "slices"

// kind is a kind of measurement, as results.Sample.What names it.
type kind struct {
	what  string
	table string // the heading of the table that it is in
	label string // what it is called in a row, "" where the heading says it
}

// kinds are in the order of tables and rows.
var kinds = []kind{
	{"cpu_per_query", "CPU per query", ""},
	{"cost_growth", "Growth of the CPU per query with the cluster", ""},
	{"machine_per_query", "CPU of the whole machine per query, with that of whoever asks", ""},
	{"added_per_query", "CPU of the whole machine per query over a veth pair, beyond that of an echo", ""},
	{"latency_mean", "Mean latency", ""},
	{"cpu_share", "CPU of the server's process, of a core", ""},
	{"cpu_idle", "CPU when nobody asks, of a core", ""},
	{"max_rate", "Maximum rate, server on one core", ""},
	{"server_busy", "Share of its core that the server used at the maximum rate", ""},
	{"latency_p50", "Latency", "p50"},
	{"latency_p99", "Latency", "p99"},
	{"rss_peak_start", "Memory", "peak RSS, cold start"},
	{"rss_peak_start_list", "Memory", "peak RSS, cold start with plain lists"},
	{"rss_steady", "Memory", "steady RSS"},
	{"heap_steady", "Memory", "steady heap"},
	{"rss_peak_relist", "Memory", "peak RSS, API server restarted"},
	{"rss_peak_relist_list", "Memory", "peak RSS, API server restarted, plain lists"},
	{"rss_peak_reload", "Memory", "peak RSS, Corefile reload"},
	{"rss_before_peak", "Memory", "RSS, empty cluster, manifests"},
	{"rss_after_peak", "Memory", "RSS after a peak of 1,000,000 names, then none"},
	{"rss_idle", "Memory", "RSS idle, empty cluster"},
	{"binary_size", "Memory", "size of the binary"},
	{"start_to_answer", "Start to first right answer", ""},
	{"reload_missing", "Missing answers during a Corefile reload", ""},
	{"programming_p50", "DNS programming latency: write acknowledged to new answer", "p50"},
	{"programming_p99", "DNS programming latency: write acknowledged to new answer", "p99"},
	{"churn_cpu", "CPU spent on changes", ""},
	{"allocs_per_query", "Allocations per query in the plugin", ""},
}

func kindIndex(what string) int {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.what == what })
	if i < 0 {
		return len(kinds)
	}
	return i
}

// kindOf returns a kind for what is in no table of its own, too.
func kindOf(what string) kind {
	if i := kindIndex(what); i < len(kinds) {
		return kinds[i]
	}
	return kind{what, "Other", what}
}
