package main

import (
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/bench/load"
)

const dnsperfReport = `[Status] Testing complete (time limit)

Statistics:

  Queries sent:         145326
  Queries completed:    145300 (99.98%)
  Queries lost:         26 (0.02%)

  Response codes:       NOERROR 145300 (100.00%)
  Average packet size:  request 49, response 97
  Run time (s):         2.500071
  Queries per second:   58118.349438

  Average Latency (s):  0.003388 (min 0.000044, max 0.011563)
  Latency StdDev (s):   0.000537
`

func TestParseDnsperf(t *testing.T) {
	l, err := parseDnsperf(dnsperfReport)
	if err != nil || l.Sent != 145326 || l.Answered != 145300 || int(l.QPS) != 58118 || int(l.Duration*1000) != 2500 {
		t.Errorf("%+v, %v", l, err)
	}
	for _, broken := range []string{"", strings.Replace(dnsperfReport, "Queries lost", "", 1)[:60], strings.Replace(dnsperfReport, "58118.349438", "many", 1)} {
		if _, err := parseDnsperf(broken); err == nil {
			t.Errorf("no error for %q", broken)
		}
	}
}

func TestVoid(t *testing.T) {
	for _, c := range []struct {
		sent, answered uint64
		want           string
	}{
		{0, 0, "nothing was sent"},
		{100000, 99899, "99.90 % of 100000 queries were answered"},
		{100000, 99900, ""},
	} {
		if got := void(load.Result{Sent: c.sent, Answered: c.answered}); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
