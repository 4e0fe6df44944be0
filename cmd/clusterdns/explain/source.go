package explain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/kube"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/miekg/dns"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// source answers questions.
type source interface {
	ask(ctx context.Context, name string, qtype uint16) answer
	// String says what the source is.
	String() string
	// contact returns when it was last heard of what answers are made from; zero
	// if that is not known.
	contact() time.Time
	close()
}

// answer is what a source says to a question.
type answer struct {
	rcode   int
	records []dns.RR
	errors  []dns.EDNS0_EDE
	objects []zone.Source
	outside string // of the cluster, where the answer would have to come from
	err     error  // there is none
}

// positive reports whether a resolver takes a for an answer.
func (a answer) positive() bool {
	return a.err == nil && a.rcode == dns.RcodeSuccess && len(a.records) > 0
}

// take fills in a from a reply. Records are sorted, since servers rotate them,
// behind the CNAMEs.
func (a *answer) take(m *dns.Msg) {
	a.rcode, a.records = m.Rcode, m.Answer
	slices.SortStableFunc(a.records, func(x, y dns.RR) int {
		switch xAlias, yAlias := x.Header().Rrtype == dns.TypeCNAME, y.Header().Rrtype == dns.TypeCNAME; {
		case xAlias && yAlias:
			return 0
		case xAlias:
			return -1
		case yAlias:
			return 1
		}
		return strings.Compare(x.String(), y.String())
	})
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				a.errors = append(a.errors, *e)
			}
		}
	}
}

// server is a DNS server that is asked over the network.
type server string

// newServer returns the server at addr, on port 53 unless it says another.
func newServer(addr string) (server, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), "53")
	}
	if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
		return "", fmt.Errorf("--server %q is no address and port", addr)
	}
	return server(addr), nil
}

func (s server) String() string   { return "server " + string(s) }
func (server) contact() time.Time { return time.Time{} }
func (server) close()             {}

// udpSize is what the questions advertise: an answer of that size comes in one
// piece (DNS flag day 2020).
const udpSize = 1232

func (s server) ask(ctx context.Context, name string, qtype uint16) (a answer) {
	q := new(dns.Msg).SetQuestion(name, qtype)
	q.SetEdns0(udpSize, false)
	var m *dns.Msg
	for _, network := range []string{"udp", "udp", "tcp"} {
		c := dns.Client{Net: network, Timeout: 2 * time.Second}
		m, _, a.err = c.ExchangeContext(ctx, q, string(s))
		switch {
		case ctx.Err() != nil:
			a.err = ctx.Err()
			return a
		case a.err == nil && !m.Truncated:
			a.take(m)
			return a
		}
	}
	if a.err == nil {
		a.take(m)
	}
	return a
}

// index is the objects of a cluster, from an API server or files.
type index struct {
	feed *kube.Feed
	view *zone.View
	name string
	// versions says that objects have resourceVersions of their own.
	versions bool
}

// fromManifests returns the index of files.
func fromManifests(paths []string, c kube.Config, opt zone.Options) (*index, error) {
	feed, err := kube.AcquireManifests(paths, c)
	if err != nil {
		return nil, err
	}
	return newIndex(feed, index{name: "manifests " + strings.Join(paths, " ")}, opt)
}

// fromCluster returns the index of what an API server has, when all of it has
// been listed.
func fromCluster(ctx context.Context, c kube.Config, opt zone.Options) (*index, error) {
	c.NoEndpoints, c.Pods, c.Multicluster = opt.NoEndpoints, opt.Pods == zone.PodsVerified, len(opt.Multicluster) > 0
	feed, err := kube.Acquire(c)
	if err != nil {
		return nil, err
	}
	if err := listed(ctx, feed); err != nil {
		feed.Release()
		return nil, err
	}
	return newIndex(feed, index{name: "API server " + feed.Source(), versions: true}, opt)
}

// listed waits until the feed has everything. A feed tries for ever; what another
// try does not help ends the wait.
func listed(ctx context.Context, feed *kube.Feed) error {
	for {
		step, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		err := feed.WaitSynced(step)
		cancel()
		if err == nil {
			return nil
		}
		for _, s := range feed.Status() {
			if why := s.LastError; !s.Synced && why != nil && (ctx.Err() != nil || hopeless(why)) {
				return fmt.Errorf("%s of %s: %w", s.Resource, feed.Source(), why)
			}
		}
		if ctx.Err() != nil {
			return err
		}
	}
}

// hopeless reports whether err is one that somebody has to do something about.
func hopeless(err error) bool {
	var dial *net.OpError
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || errors.As(err, &dial) && dial.Op == "dial"
}

func newIndex(feed *kube.Feed, x index, opt zone.Options) (_ *index, err error) {
	x.feed = feed
	if x.view, err = zone.NewView(feed.Index(), opt); err != nil {
		feed.Release()
		return nil, err
	}
	return &x, nil
}

func (x *index) String() string { return x.name }
func (x *index) close()         { x.feed.Release() }

// contact returns the oldest of when each resource of an API server was last heard
// of.
func (x *index) contact() (oldest time.Time) {
	if !x.versions {
		return oldest // files have just been read
	}
	for _, s := range x.feed.Status() {
		if oldest.IsZero() || s.LastContact.Before(oldest) {
			oldest = s.LastContact
		}
	}
	return oldest
}

func (x *index) ask(_ context.Context, name string, qtype uint16) (a answer) {
	q := new(dns.Msg).SetQuestion(name, qtype)
	q.SetEdns0(dns.MaxMsgSize-1, false)
	packet, err := q.Pack()
	if err != nil {
		a.err = err
		return a
	}
	var query dnswire.Query
	if why := dnswire.ParseQuery(packet, &query); why != dnswire.Accepted {
		a.err = fmt.Errorf("no question: %s", why)
		return a
	}
	var found zone.Answer
	if !x.view.Lookup(&found, query.Name, qtype) {
		a.outside = name
		return a
	}
	for _, s := range found.Sources() {
		if !x.versions {
			s.Version = 0
		}
		a.objects = append(a.objects, s)
	}
	if found.Outcome == zone.Chase {
		a.outside = dnswire.NameString(found.Target())
		owner := name
		found.Walk(func(r *zone.Record) bool {
			cname := &dns.CNAME{Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: r.TTL}, Target: dnswire.NameString(r.Target.Origin)}
			a.records, owner = append(a.records, cname), cname.Target
			return true
		})
		return a
	}
	var render zone.Renderer
	reply, err := render.Append(nil, &query, &found, dns.MaxMsgSize)
	m := new(dns.Msg)
	if err == nil {
		err = m.Unpack(reply)
	}
	if err != nil {
		a.err = err
		return a
	}
	a.take(m)
	return a
}
