// Package results is what a run of the comparison measured, as the runner
// writes it to a file and the report reads it.
package results

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Peers that are compared, as Sample.Peer and Series.Peer name them.
const (
	Ours         = "clusterdns"         // with the fast lane
	Chain        = "clusterdns-chain"   // the same binary with the fast lane off
	Console      = "clusterdns-console" // with the fast lane, and the plugin console counting who asks what
	Kernel       = "clusterdns-kernel"  // with the fast lane, part of it in the kernel
	CoreDNS      = "coredns"            // stock
	CoreDNSCache = "coredns-cache"      // stock, with the plugin cache
	NSD          = "nsd"                // serving the same names as a static zone
	Knot         = "knot"               // likewise
	Echo         = "echo"               // no server: a program in the kernel that sends every question back
)

// Results is everything that one run of the comparison measured.
type Results struct {
	Machine  map[string]string `json:"machine"` // cpu, cores, kernel, memory, os, debian, go
	Commit   string            `json:"commit"`  // of this repository, with -dirty if files were changed; empty if unknown
	Started  time.Time         `json:"started"`
	Plan     string            `json:"plan"`               // what was to be measured: full, paced, quick or smoke
	Versions map[string]string `json:"versions"`           // by peer or tool, with what matters of how it was built
	LeftOut  map[string]string `json:"left_out,omitempty"` // steps that this machine cannot do, with the reason
	Samples  []Sample          `json:"samples"`
	Series   []Series          `json:"series,omitempty"`
}

// Sample is one measurement of one round. What it is a measurement of is said
// by What, Mix, World, Proto, Load and Cores, each empty where it does not apply.
type Sample struct {
	What  string `json:"what"`            // cpu_per_query, latency_p99, rss_steady, ...
	Mix   string `json:"mix,omitempty"`   // the kind of questions asked
	World string `json:"world,omitempty"` // the cluster served, by its number of services
	Proto string `json:"proto,omitempty"` // udp, udp6, tcp with 16 queries in flight on a connection, tcp1 with one, veth: UDP over a pair of those
	Load  string `json:"load,omitempty"`  // Saturated, PerSecond, idle, churn200 (changes a second), ...
	Cores int    `json:"cores,omitempty"` // that the server could run on
	Peer  string `json:"peer"`

	Round int     `json:"round"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"` // µs, q/s, MB, ms, s, %

	// Void is a round that does not count, for the reason Why: too few
	// queries were answered, say.
	Void bool   `json:"void,omitempty"`
	Why  string `json:"why,omitempty"`
}

// Saturated is the Load of a server that is asked as fast as it answers.
const Saturated = "saturated"

// Idle is the Load of a server that nobody asks.
const Idle = "idle"

// PerSecond is the Load of so many queries a second.
func PerSecond(rate int) string { return fmt.Sprintf("%d/s", rate) }

// Busy is the share of its core, in percent, that a server uses at its maximum
// rate. Where it used less, whoever asked was the limit.
const Busy = 95

// Series is a value over time, V[i] in Unit at T[i] seconds, with named moments.
type Series struct {
	What  string    `json:"what"`
	Load  string    `json:"load,omitempty"` // what happens: a reload, an outage
	Peer  string    `json:"peer"`
	World string    `json:"world,omitempty"`
	Unit  string    `json:"unit"`
	T     []float64 `json:"t"`
	V     []float64 `json:"v"`
	Marks []Mark    `json:"marks,omitempty"`
}

// Mark names a moment of a Series, T seconds from its beginning.
type Mark struct {
	T    float64 `json:"t"`
	Name string  `json:"name"`
}

// Read reads a file that Write wrote.
func Read(file string) (*Results, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading results: %w", err)
	}
	r := new(Results)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("reading results of %s: %w", file, err)
	}
	for i, s := range r.Series {
		if len(s.T) != len(s.V) {
			return nil, fmt.Errorf("reading results of %s: series %d (%s of %s) has %d times and %d values",
				file, i, s.What, s.Peer, len(s.T), len(s.V))
		}
	}
	return r, nil
}

// Write writes r to a file, replacing it as a whole.
func (r *Results) Write(file string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("writing results to %s: %w", file, err)
	}
	part := file + ".part"
	if err := os.WriteFile(part, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	if err := os.Rename(part, file); err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	return nil
}
