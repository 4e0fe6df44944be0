package top

import (
	"io"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	prom "github.com/prometheus/common/model"
)

// durationMetric is CoreDNS's histogram of how long answers took. The fast lane
// feeds it as well.
const durationMetric = "coredns_dns_request_duration_seconds"

// readDurations returns the histogram of what a server's /metrics says.
func readDurations(in io.Reader) (histogram, error) {
	parser := expfmt.NewTextParser(prom.UTF8Validation)
	families, err := parser.TextToMetricFamilies(in)
	if err != nil {
		return nil, err
	}
	h := histogram{}
	family := families[durationMetric]
	if family.GetType() != dto.MetricType_HISTOGRAM {
		return h, nil
	}
	for _, m := range family.GetMetric() {
		for _, b := range m.GetHistogram().GetBucket() {
			h[b.GetUpperBound()] += float64(b.GetCumulativeCount())
		}
	}
	return h, nil
}
