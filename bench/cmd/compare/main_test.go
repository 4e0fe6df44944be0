package main

import (
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/bench/results"
)

func TestStrictly(t *testing.T) {
	res := &results.Results{Samples: []results.Sample{{What: "max_rate", Peer: results.Ours, Value: 1}}}
	if err := strictly(res); err != nil {
		t.Errorf("nothing is void: %v", err)
	}
	res.Samples = append(res.Samples, results.Sample{What: "cpu_per_query", Mix: "srv", Peer: results.Ours, Void: true, Why: "9 of 9 answers are wrong"})
	if err := strictly(res); err == nil || !strings.Contains(err.Error(), "srv") || !strings.Contains(err.Error(), "9 of 9") {
		t.Errorf("a void figure: %v", err)
	}
}

// TestMachine wants what every Linux says of itself.
func TestMachine(t *testing.T) {
	m := machine()
	for _, key := range []string{"cores", "kernel", "memory", "load before", "go", "arch"} {
		if m[key] == "" {
			t.Errorf("no %s in %v", key, m)
		}
	}
}
