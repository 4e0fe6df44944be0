package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// apiFaults are those of the API server, and of the way to it.
var apiFaults = []fault{
	{name: "API server killed", stanza: direct, meet: func(tr *trial) {
		tr.kill(tr.T)
		tr.hold(during(20*time.Second, 3*time.Second))
		tr.outage.start(tr.T)
	}},
	{name: "etcd killed", stanza: direct, meet: func(tr *trial) {
		tr.must(tr.Etcd.Kill())
		tr.hold(during(20*time.Second, 3*time.Second))
		tr.must(tr.Etcd.Start(tr.Context()))
	}},
	{name: "API server stopped (SIGSTOP), for longer than every timeout", long: true, stanza: direct, meet: func(tr *trial) {
		tr.stopped(3*time.Minute + 20*time.Second)
	}},
	{name: "API server stopped (SIGSTOP), for longer than connections are tried", long: true, stanza: direct, meet: func(tr *trial) {
		tr.stopped(during(20*time.Second, 12*time.Second))
	}},
	{name: "watches cut, ten times", meet: func(tr *trial) {
		for range 10 {
			tr.between.cut()
			tr.hold(200 * time.Millisecond)
		}
	}},
	{name: "connections half open", patient: 2 * time.Minute, meet: func(tr *trial) { tr.between.halfOpen() }},
	{name: "watches silent, pings answered", long: true, patient: 5 * time.Minute, meet: func(tr *trial) { tr.between.mute() }},
	{name: "objects changed during an outage", meet: func(tr *trial) {
		tr.changedMeanwhile(func() {})
	}},
	{name: "410 Gone and a full relist, objects changed meanwhile", meet: func(tr *trial) {
		tr.changedMeanwhile(func() {
			tr.kill(tr.T)
			tr.outage.start(tr.T)
		})
		// It is a relist, or nothing was met.
		if n := tr.peers[0].metric(tr.T, "coredns_clusterdns_lists_total", `resource="services"`); n < 2 {
			tr.Errorf("%v lists of services", n)
		}
	}},
	{name: "API server answers 429, then 500, to all", long: true, meet: func(tr *trial) {
		for _, status := range []int{http.StatusTooManyRequests, http.StatusInternalServerError} {
			tr.between.refusing(func(*http.Request) int { return status })
			tr.between.cut()
			tr.hold(during(10*time.Second, 2*time.Second))
		}
		tr.between.refusing(nil)
	}},
	{name: "token rotated, the old one refused", long: true, stanza: withToken, meet: (*trial).rotateToken},
	{name: "client certificate rotated, the old one expired", long: true, stanza: withCert, meet: (*trial).rotateCert},
	{name: "a surge of 450 to 500 slice changes a second", meet: func(tr *trial) {
		tr.surge(500, during(20*time.Second, 4*time.Second))
	}},
}

// direct has servers go to the API server itself.
func direct(tr *trial) []string { return []string{"kubeconfig " + tr.Kubeconfig()} }

func (tr *trial) must(err error) {
	tr.Helper()
	if err != nil {
		tr.Fatal(err)
	}
}

// stopped has the API server's process not run for a while.
func (tr *trial) stopped(d time.Duration) {
	tr.must(tr.APIServer.Pause())
	tr.hold(d)
	tr.must(tr.APIServer.Resume())
}

// changedMeanwhile makes, changes and deletes objects while the servers are cut
// off, and does more. A server answers as before, until it knows, and then as it
// is: never anything else.
func (tr *trial) changedMeanwhile(more func()) {
	s := *tr.space
	s.t = tr.T
	n := time.Now().UnixNano() % 1e9
	gone, moved := s.create(service(fmt.Sprint("gone-", n))), s.create(headless(service(fmt.Sprint("moved-", n))))
	slice := s.createSlice(moved.Name, 80, endpoint("198.51.100.70", ""))
	qGone, qMoved, qNew := a(s.fqdn(gone.Name)), a(s.fqdn(moved.Name)), a(s.fqdn(fmt.Sprint("new-", n)))
	for _, p := range tr.taking() {
		p.becomes(tr.T, qGone, addrText(qGone, gone.Spec.ClusterIP))
		p.becomes(tr.T, qMoved, addrText(qMoved, "198.51.100.70"))
	}
	refused := func(*http.Request) int { return http.StatusServiceUnavailable }
	tr.between.refusing(refused)
	tr.between.cut()
	s.delete(gone.Name)
	slice.Endpoints = append(slice.Endpoints[:0], endpoint("198.51.100.71", ""))
	_, err := tr.client.DiscoveryV1().EndpointSlices(s.name).Update(tr.Context(), slice, metav1.UpdateOptions{})
	tr.must(err)
	made := s.create(service(strings.TrimSuffix(strings.SplitN(qNew.name, ".", 2)[0], ".")))
	changed := map[question][2]string{
		qGone:  {addrText(qGone, gone.Spec.ClusterIP), nxdomain},
		qMoved: {addrText(qMoved, "198.51.100.70"), addrText(qMoved, "198.51.100.71")},
		qNew:   {nxdomain, addrText(qNew, made.Spec.ClusterIP)},
	}
	for _, p := range tr.taking() {
		var checks []check
		for q, answers := range changed {
			checks = append(checks, changes(q, answers[0], answers[1]))
		}
		p.also = append(p.also, p.keepAsking(checks, "udp"))
	}
	tr.hold(during(10*time.Second, 2*time.Second))
	more()
	tr.between.refusing(nil)
	for q, answers := range changed {
		tr.peers[0].becomes(tr.T, q, answers[1])
	}
}

// surge changes EndpointSlices at a rate, and has the servers asked for them.
func (tr *trial) surge(rate int, d time.Duration) {
	c := newChurn(tr.T, tr.outage, 40)
	for _, p := range tr.taking() {
		c.settled(p.server)
		p.also = append(p.also, p.keepAsking(c.checks(), "udp"))
	}
	ctx, cancel := context.WithTimeout(tr.Context(), d)
	defer cancel()
	c.run(ctx, rate)
	tr.Logf("%.0f slice changes a second", float64(c.written.Load())/d.Seconds())
	if *full && float64(c.written.Load()) < 0.9*float64(rate)*d.Seconds() {
		tr.Errorf("%d slices were changed within %v: the API server takes no more", c.written.Load(), d)
	}
	c.settled(tr.peers[0].server)
}
