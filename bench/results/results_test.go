package results

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestReadIsInverseOfWrite(t *testing.T) {
	want := &Results{
		Machine:  map[string]string{"cpu": "EPYC", "cores": "2"},
		Started:  time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC),
		Commit:   "abc-dirty",
		Plan:     "quick",
		Versions: map[string]string{NSD: "4.6.1 (Debian; no recvmmsg; rrl-ratelimit 0)"},
		Samples: []Sample{
			{What: "latency_p99", Mix: "clusterip", World: "10000", Proto: "udp", Load: PerSecond(4000), Cores: 2, Peer: Ours, Round: 2, Value: 41.5, Unit: "µs"},
			{What: "cpu_per_query", Peer: Knot, Unit: "µs", Void: true, Why: "93.1 % answered"},
		},
		Series: []Series{{What: "rss", Peer: Ours, World: "10000", Unit: "MB",
			T: []float64{0, 0.5}, V: []float64{20, 30}, Marks: []Mark{{0.5, "relist"}}}},
	}
	file := filepath.Join(t.TempDir(), "results.json")
	if err := want.Write(file); err != nil {
		t.Fatal(err)
	}
	got, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%+v\nwant\n%+v", got, want)
	}
}

func TestReadErrors(t *testing.T) {
	for content, want := range map[string]string{
		`{"samples": 3}`: "cannot unmarshal number",
		`{"series": [{"what": "rss", "peer": "nsd", "t": [0, 1], "v": [5]}]}`: "series 0 (rss of nsd) has 2 times and 1 values",
	} {
		file := filepath.Join(t.TempDir(), "results.json")
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(file); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: error %v, want the file's name and %q", content, err, want)
		}
	}
}
