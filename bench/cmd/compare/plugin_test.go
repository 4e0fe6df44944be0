package main

import (
	"maps"
	"testing"
)

func TestParseAllocations(t *testing.T) {
	got := parseAllocations(`goos: linux
BenchmarkServeDNS/ClusterIP_A-2         	     300	      2556 ns/op	    1400 B/op	      28 allocs/op
BenchmarkServeDNS/headless-15_A-2       	     300	     12926 ns/op	    8608 B/op	      83 allocs/op
BenchmarkServeDNS/headless-15_SRV       	     300	     12926 ns/op	    8608 B/op	     175 allocs/op
BenchmarkServeDNS/PTR                   	     300	      1428 ns/op
BenchmarkServeDNS                       	     300	      1428 ns/op	    1176 B/op	      18 allocs/op
PASS
`)
	want := map[string]float64{"ClusterIP_A": 28, "headless-15_A": 83, "headless-15_SRV": 175}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
