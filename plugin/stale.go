package clusterdns

import (
	"slices"
	"time"

	"github.com/clusterdns/clusterdns/plugin/kube"
	saved "github.com/clusterdns/clusterdns/plugin/snapshot"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/prometheus/client_golang/prometheus"
)

// needs returns the resources without which h is not ready. An index that began
// with a snapshot, which has no pods, does not wait for them: that the API server
// is away, or slow, is to take no answers from who can be answered.
func (h *Handler) needs() []zone.Resource {
	needs := h.view.Needs()
	if h.view.Index().Warm() {
		needs = slices.DeleteFunc(needs, func(r zone.Resource) bool { return r == zone.Pods })
	}
	return needs
}

// snapshotReport is what the log has been told of the snapshot of a source.
type snapshotReport struct {
	loaded  bool
	failing bool
}

// reportSnapshot logs what became of the snapshot of feed, once each time.
func reportSnapshot(feed *kube.Feed, told map[string]snapshotReport) {
	s, before := feed.Snapshot(), told[feed.Source()]
	if s.Dir == "" {
		return
	}
	if !before.loaded && s.LoadError != nil {
		log.Warningf("Not all of what was saved of %s is used, and the file stays as it is until there is a better one: %v", feed.Source(), s.LoadError)
	}
	if !before.loaded && len(s.Loaded) > 0 {
		log.Infof("Beginning with what was saved of %s: %v as of %s", feed.Source(), s.Loaded, s.Contact.Format(time.RFC3339))
	}
	failing := s.SaveError != nil
	switch {
	case failing && !before.failing:
		log.Errorf("Saving %s: %v", feed.Source(), s.SaveError)
	case !failing && before.failing:
		log.Infof("Saving %s again", feed.Source())
	}
	told[feed.Source()] = snapshotReport{true, failing}
}

// reportStale logs that s has become stale, or is not any more, if that is news to
// stale, which has what is.
func reportStale(s kube.Status, stale map[string]bool) {
	name := s.Resource.String() + " of " + s.Source
	is := !s.StaleSince.IsZero()
	switch {
	case is && !stale[name]:
		log.Warningf("Answers from %s are stale, as of %s: TTLs are %d s at most, and EDNS clients are told (RFC 8914, 3)",
			name, s.StaleSince.Format(time.RFC3339), zone.StaleTTL)
	case !is && stale[name]:
		log.Infof("Answers from %s are no longer stale", name)
	}
	stale[name] = is
}

var (
	snapshotLoadDesc = desc("snapshot_load_failures", "Whether what was saved before the start was not used, or not all of it, by reason.", "source", "reason")
	snapshotSaves    = []snapshotMetric{
		{desc("snapshot_saves_total", "Number of snapshots that were written.", "source"), prometheus.CounterValue,
			func(s *kube.SnapshotStatus) float64 { return float64(s.Saves) }},
		{desc("snapshot_save_errors_total", "Number of snapshots that could not be written.", "source"), prometheus.CounterValue,
			func(s *kube.SnapshotStatus) float64 { return float64(s.SaveErrors) }},
		{desc("snapshot_last_save_timestamp_seconds", "When the last snapshot was written, in Unix time; 0 for never.", "source"), prometheus.GaugeValue,
			func(s *kube.SnapshotStatus) float64 { return unixSeconds(s.LastSave) }},
		{desc("snapshot_size_bytes", "The size of the last snapshot that was written.", "source"), prometheus.GaugeValue,
			func(s *kube.SnapshotStatus) float64 { return float64(s.Size) }},
	}
)

// snapshotMetric is a metric that each source with a snapshot has.
type snapshotMetric struct {
	desc  *prometheus.Desc
	typ   prometheus.ValueType
	value func(*kube.SnapshotStatus) float64
}

func describeSnapshot(ch chan<- *prometheus.Desc) {
	ch <- snapshotLoadDesc
	for _, m := range snapshotSaves {
		ch <- m.desc
	}
}

func collectSnapshot(ch chan<- prometheus.Metric, feed *kube.Feed) {
	s := feed.Snapshot()
	if s.Dir == "" {
		return
	}
	for _, reason := range saved.Reasons {
		failed := 0.0
		if s.LoadError != nil && saved.Reason(s.LoadError) == reason {
			failed = 1
		}
		ch <- prometheus.MustNewConstMetric(snapshotLoadDesc, prometheus.GaugeValue, failed, feed.Source(), reason)
	}
	for _, m := range snapshotSaves {
		ch <- prometheus.MustNewConstMetric(m.desc, m.typ, m.value(&s), feed.Source())
	}
}
