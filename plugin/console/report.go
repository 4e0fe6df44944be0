package console

import (
	"net/netip"
	"os"
	"time"

	"github.com/clusterdns/clusterdns/plugin/hitters"
	"github.com/clusterdns/clusterdns/plugin/zone"
)

// Report is what a server knows of itself, as /report.json has it.
type Report struct {
	Time    time.Time `json:"time"`
	Version string    `json:"version"`
	Host    string    `json:"host"` // the pod's name, in a cluster

	// Since is when Totals began to be counted.
	Since  time.Time `json:"since"`
	Totals Paths     `json:"totals"`
	// History is what was counted every few seconds, for some minutes; oldest
	// first.
	History []Point `json:"history"`

	// What was asked most within the last Window seconds. OneIn is that every
	// so-manieth question was looked at, at the busiest worker: 1 is all.
	Window   float64  `json:"windowSeconds"`
	OneIn    uint32   `json:"oneIn"`
	Names    []Name   `json:"names"`    // not those of NXDomain
	NXDomain []Name   `json:"nxdomain"` // do not exist
	Clients  []Client `json:"clients"`

	Feeds []Feed `json:"feeds"`
	Lanes []Lane `json:"lanes"`
}

// Paths are Tallies by who answered.
type Paths struct {
	Lane  Tally `json:"lane"`
	Chain Tally `json:"chain"`
}

// Tally is how many questions were answered with which response code, and how
// many seconds that took, together.
type Tally struct {
	NoError  uint64  `json:"noerror"`
	NXDomain uint64  `json:"nxdomain"`
	ServFail uint64  `json:"servfail"`
	Other    uint64  `json:"other"`
	Seconds  float64 `json:"seconds"`
}

// Sum returns how many questions they are.
func (t Tally) Sum() uint64 { return t.NoError + t.NXDomain + t.ServFail + t.Other }

// Point is what was counted in the Seconds before At.
type Point struct {
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"`
	Paths
}

// Name is a name that was asked for. Count is how many questions there were at
// most, as far as samples tell, and Count-Error at least.
type Name struct {
	Name      string `json:"name"` // fully qualified, escaped as zone files have it
	Namespace string `json:"namespace,omitempty"`
	Count     uint64 `json:"count"`
	Error     uint64 `json:"error"`
}

// AtLeast returns how many questions are certain.
func (n Name) AtLeast() uint64 { return n.Count - n.Error }

// Client is one who asks; Count and Error are as those of Name.
type Client struct {
	Addr  netip.Addr `json:"addr"`
	Count uint64     `json:"count"`
	Error uint64     `json:"error"`
}

// AtLeast returns how many questions are certain.
func (c Client) AtLeast() uint64 { return c.Count - c.Error }

// Feed is one resource that is followed.
type Feed struct {
	Source   string `json:"source"`
	Resource string `json:"resource"`
	Synced   bool   `json:"synced"` // has been seen whole
	Objects  int    `json:"objects"`
	// Zero for never.
	LastEvent   time.Time `json:"lastEvent"`
	LastContact time.Time `json:"lastContact"`
	// StaleSince is when what is answered was last known to be so, if that is out
	// of a snapshot or the feed is silent for too long; zero otherwise.
	StaleSince      time.Time `json:"staleSince,omitzero"`
	ResourceVersion string    `json:"resourceVersion,omitempty"`
	Error           string    `json:"error,omitempty"` // what is wrong now
}

// State says in a word how f is.
func (f Feed) State() string {
	switch {
	case !f.Synced:
		return "waiting"
	case !f.StaleSince.IsZero():
		return "stale"
	case f.Error != "":
		return "lost"
	}
	return "followed"
}

// Lane is the fast lane at an address, or its lack.
type Lane struct {
	Addr     string            `json:"addr"`
	Open     bool              `json:"open"`
	Why      string            `json:"why,omitempty"` // it is closed
	Answered uint64            `json:"answered"`
	Declined map[string]uint64 `json:"declined,omitempty"` // left to the chain, by reason
}

// View is a stanza of the Corefile that shows an index.
type View struct {
	Where string // in the Corefile
	Zones []string
	*zone.View
}

// Source is what a Console shows besides an Engine.
type Source interface {
	Feeds() []Feed
	Lanes() []Lane
	Views() []View
}

// topRows is how many rows of each kind a Report has.
const topRows = 100

func newReport(e *hitters.Engine, s Source, version string, now time.Time) *Report {
	r := &Report{Time: now, Version: version, Feeds: s.Feeds(), Lanes: s.Lanes(), History: []Point{}, Clients: []Client{}}
	r.Host, _ = os.Hostname()
	since, totals := e.Totals()
	r.Since, r.Totals = since, pathsOf(totals)
	for _, p := range e.History() {
		r.History = append(r.History, Point{p.At, p.Over.Seconds(), pathsOf(p.Totals)})
	}
	top := e.Top(now, topRows)
	r.Window, r.OneIn = top.Window.Seconds(), top.OneIn
	views := s.Views()
	r.Names, r.NXDomain = namesOf(top.Names, views), namesOf(top.NXDomain, views)
	for _, h := range top.Clients {
		r.Clients = append(r.Clients, Client{h.Key, h.Count, h.Error})
	}
	return r
}

func namesOf(hits []hitters.Hit[string], views []View) []Name {
	names := []Name{}
	for _, h := range hits {
		n := Name{Name: h.Key, Count: h.Count, Error: h.Error}
		for _, v := range views {
			if n.Namespace = v.NamespaceOf(n.Name); n.Namespace != "" {
				break
			}
		}
		names = append(names, n)
	}
	return names
}

func pathsOf(t hitters.Totals) Paths {
	return Paths{Lane: tallyOf(t[hitters.Lane]), Chain: tallyOf(t[hitters.Chain])}
}

func tallyOf(t hitters.Tally) Tally {
	return Tally{
		NoError: t.Outcomes[hitters.NoError], NXDomain: t.Outcomes[hitters.NXDomain],
		ServFail: t.Outcomes[hitters.ServFail], Other: t.Outcomes[hitters.Other], Seconds: t.Took.Seconds(),
	}
}
