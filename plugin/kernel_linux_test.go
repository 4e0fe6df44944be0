//go:build amd64 || arm64

package clusterdns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/fastlane"
	"github.com/clusterdns/clusterdns/plugin/fastlane/kernel"
	"github.com/clusterdns/clusterdns/plugin/responder"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/miekg/dns"
)

var kernelServer, kernelClient = netip.MustParseAddr("10.244.0.53"), netip.MustParseAddr("10.244.7.9")

// kernelAndLane sends messages to a program in the kernel, which a mirror fills, and
// to a responder of the same plan.
type kernelAndLane struct {
	image *kernel.Image
	lane  fastlane.Responder
	frame []byte
}

// newKernelAndLane has a route for each zone of h; change says what is special.
func newKernelAndLane(t testing.TB, h *Handler, change func(*responder.Route)) *kernelAndLane {
	t.Helper()
	plan := &responder.Plan{Counts: new(responder.Counts), TruncatedTCP: truncatedTCP}
	zones := slices.Clone(h.cfg.view.Zones)
	slices.SortStableFunc(zones, func(a, b string) int { return dns.CountLabel(b) - dns.CountLabel(a) })
	for _, z := range zones {
		route := responder.Route{Zone: z, Kernel: true}
		change(&route)
		addRoute(t, plan, route, h)
	}
	b := &kernelAndLane{lane: plan.NewResponder()}
	opened, failed := make(chan int, 1), make(chan error, 16)
	m, _, err := plan.Mirror(responder.KernelOptions{
		Addr: net4(kernelServer),
		Open: func(c kernel.Config) (im *kernel.Image, err error) {
			im, err = kernel.Detached(c)
			b.image = im
			return im, err
		},
		Opened: func(n int) { opened <- n },
		Failed: func(err error, _ time.Duration) { failed <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); m.Wait() })
	select {
	case n := <-opened:
		if open, names := m.State(); !open || names != n || n == 0 {
			t.Fatalf("open: %v, %d names, %d at first", open, names, n)
		}
	case err := <-failed:
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("nothing was opened")
	}
	return b
}

func net4(a netip.Addr) string { return netip.AddrPortFrom(a, 53).String() }

// ask returns the kernel's reply to a message, nil if that goes up.
func (b *kernelAndLane) ask(msg []byte) ([]byte, error) {
	const ethernet, ip, udp = 14, 20, 8
	f := append(b.frame[:0], make([]byte, ethernet+ip+udp)...)
	f = append(f, msg...)
	b.frame = f
	f[6], f[11] = 2, 9
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	h := f[ethernet:]
	h[0], h[8], h[9] = 0x45, 61, 17
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)))
	copy(h[12:], kernelClient.AsSlice())
	copy(h[16:], kernelServer.AsSlice())
	var sum uint32
	for i := 0; i < ip; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(h[ip:], 40000)
	binary.BigEndian.PutUint16(h[ip+2:], 53)
	binary.BigEndian.PutUint16(h[ip+4:], uint16(udp+len(msg))) // no checksum: package kernel tests those
	reply, err := b.image.Run(f)
	if err != nil || reply == nil {
		return nil, err
	}
	return reply[ethernet+ip+udp:], nil
}

// compare reports how the kernel's reply to a message differs from the lane's. It
// is false if the message goes up. With rotate the order of records does not count.
func (b *kernelAndLane) compare(msg []byte, rotate bool) (answered bool, err error) {
	got, err := b.ask(msg)
	if err != nil || got == nil {
		return false, err
	}
	want, verdict := b.lane.Append(nil, msg, fastlane.Client{})
	if verdict != fastlane.Answered {
		return true, fmt.Errorf("the kernel answers %x, and the lane leaves it to the chain", got)
	}
	b.lane.Sent(time.Millisecond, 0)
	if bytes.Equal(got, want) {
		return true, nil
	}
	var in, lane dns.Msg
	if err := errors.Join(in.Unpack(got), lane.Unpack(want)); err != nil {
		return true, err
	}
	if rotate && len(got) == len(want) {
		for _, m := range []*dns.Msg{&in, &lane} {
			slices.SortFunc(m.Answer, func(a, b dns.RR) int { return strings.Compare(a.String(), b.String()) })
		}
		if in.String() == lane.String() {
			return true, nil
		}
	}
	return true, fmt.Errorf("lane:\n%s\n%x\nkernel:\n%s\n%x", &lane, want, &in, got)
}

// kernelPackets calls yield for queries of all shapes for name, those that the
// kernel may answer among them.
func kernelPackets(random *rand.Rand, name []byte, qtype uint16, yield func([]byte)) {
	packets(random, name, qtype, func(msg []byte) {
		yield(msg)
		question := dnswire.QuestionName + len(name) + 4
		if len(msg) == question {
			return
		}
		plain := slices.Clone(msg[:question+11]) // without its options
		plain[len(plain)-2], plain[len(plain)-1] = 0, 0
		yield(plain)
	})
}

func TestKernelIsTheLane(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, row := range []struct {
		name   string
		h      *Handler
		change func(*responder.Route)
		rotate bool
		least  int // messages that the kernel answers
	}{
		{name: "zones", h: variedHandler(t), least: 8000},
		{name: "rotated", h: variedHandler(t), change: func(r *responder.Route) { r.Rotate = true }, rotate: true, least: 8000},
		{name: "bufsize", h: variedHandler(t), change: func(r *responder.Route) { r.Bufsize = 600 }, least: 8000},
		{name: "autopath", h: variedHandler(t), change: func(r *responder.Route) { r.Searched = []string{"."} }, least: 800},
		{name: "templates", h: variedHandler(t), change: func(r *responder.Route) { r.Templates = silent.Templates }, least: 6000},
		{name: "fallthrough in reverse zones", h: stanza{zones: []string{"cluster.local.", "10.in-addr.arpa.", "ip6.arpa."}, fallthroughTo: []string{"in-addr.arpa", "ip6.arpa"}, next: went}.handler(t, varied(t).Writer), least: 6000},
		{name: "explain", h: stanza{zones: []string{"cluster.local.", "10.in-addr.arpa."}, explain: 1, negativeCache: 100}.handler(t, varied(t).Writer), least: 600},
		{name: "noendpoints, ttl, no pods", h: stanza{noEndpoints: true, ignoreEmpty: true, ttl: 600, negativeCache: 100}.handler(t, varied(t).Writer), least: 6000},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.change == nil {
				row.change = func(*responder.Route) {}
			}
			both := newKernelAndLane(t, row.h, row.change)
			origins := append([]string{".", "shop.svc.cluster.local."}, row.h.cfg.view.Zones...)
			answered, up := askAll(t, random, origins, append(qtypes, dns.TypeHTTPS, dns.TypeDS), kernelPackets,
				func(msg []byte) (bool, error) { return both.compare(msg, row.rotate) })
			t.Logf("%d answered by the kernel, %d go up", answered, up)
			if answered < row.least || up < 1000 {
				t.Errorf("%d messages answered and %d up: the corpus is not what it was meant to be", answered, up)
			}
		})
	}
}

// FuzzKernelIsTheLane feeds datagrams of any kind.
func FuzzKernelIsTheLane(f *testing.F) {
	random := rand.New(rand.NewPCG(5, 6))
	for i, q := range questions {
		name, err := dnswire.AppendName(nil, strings.TrimPrefix(q+".cluster.local.", "."))
		if err != nil {
			continue
		}
		n := 0
		kernelPackets(random, name, qtypes[i%len(qtypes)], func(msg []byte) {
			if n++; n%5 == i%5 {
				f.Add(msg)
			}
		})
	}
	for _, addr := range []string{"10.96.0.10", "10.1.0.77", "fd00:10:96::20"} {
		name, _ := dns.ReverseAddr(addr)
		wire, _ := dnswire.AppendName(nil, name)
		kernelPackets(random, wire, dns.TypePTR, func(msg []byte) { f.Add(msg) })
	}
	both := newKernelAndLane(f, variedHandler(f), func(*responder.Route) {})
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) > fastlane.MaxMessage {
			return
		}
		if _, err := both.compare(msg, false); err != nil {
			t.Errorf("%x: %v", msg, err)
		}
	})
}

// BenchmarkPublish is what a change of a service costs until everybody sees it,
// without followers and with a kernel that is filled.
func BenchmarkPublish(b *testing.B) {
	for _, with := range []string{"alone", "kernel"} {
		b.Run(with, func(b *testing.B) {
			w := town(b, 10000)
			h := benchHandler(b, w, 0)
			if with == "kernel" {
				newKernelAndLane(b, h, func(*responder.Route) {})
			}
			i := 0
			for b.Loop() {
				i++
				w.Writer.Update(func(batch *zone.Batch) {
					batch.Set(&zone.Service{Key: zone.Key{Namespace: "ns", Name: "changing"}, Version: uint64(1e9 + i),
						ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}})
				})
			}
		})
	}
}

// TestKernelFollows changes a world at random, and after every change asks the kernel
// and the lane for all names in it.
func TestKernelFollows(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	w := varied(t)
	both := newKernelAndLane(t, stanza{zones: []string{"cluster.local.", "10.in-addr.arpa."}}.handler(t, w.Writer), func(*responder.Route) {})
	namespaces, services := []string{"n1", "n2"}, []string{"s1", "s2", "s3"}
	pick := func(pool []string) string { return pool[random.IntN(len(pool))] }
	version, answered := uint64(1e9), 0
	for step := range 300 {
		w.Writer.Update(func(b *zone.Batch) {
			for range 1 + random.IntN(3) {
				version++
				k := zone.Key{Namespace: pick(namespaces), Name: pick(services)}
				switch random.IntN(8) {
				case 0:
					b.Set(&zone.Namespace{Name: k.Namespace, Version: version})
				case 1:
					b.Delete(zone.Namespaces, zone.Key{Name: k.Namespace}, version)
				case 2:
					b.Delete(zone.Services, k, version)
				case 3, 4:
					var list []zone.Endpoint
					for range random.IntN(70) { // of which 64 fit
						list = append(list, zone.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 244, 9, byte(random.Uint32())})})
					}
					b.Set(&zone.EndpointSlice{Key: zone.Key{Namespace: k.Namespace, Name: k.Name + "-1"}, Version: version, Service: k.Name, Ready: zone.NewEndpoints(list)})
				default:
					s := &zone.Service{Key: k, Version: version, Kind: zone.Kind(random.IntN(2))}
					if s.Kind == zone.ClusterIP {
						for range random.IntN(3) {
							s.ClusterIPs = append(s.ClusterIPs, netip.AddrFrom4([4]byte{10, 97, 0, byte(random.IntN(4))}))
						}
					}
					b.Set(s)
				}
			}
		})
		var names []string
		for _, ns := range append(namespaces, "nope") {
			names = append(names, ns+".svc.cluster.local.")
			for _, svc := range append(services, "nope") {
				names = append(names, svc+"."+ns+".svc.cluster.local.", "x."+svc+"."+ns+".svc.cluster.local.")
			}
		}
		for i := range 4 {
			names = append(names, fmt.Sprintf("%d.0.97.10.in-addr.arpa.", i))
		}
		for _, name := range names {
			wire, err := dnswire.AppendName(nil, name)
			if err != nil {
				t.Fatal(err)
			}
			for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypePTR} {
				kernelPackets(random, wire, qtype, func(msg []byte) {
					ok, err := both.compare(msg, false)
					if err != nil {
						t.Fatalf("step %d: %s %s: %v", step, name, dns.TypeToString[qtype], err)
					}
					if ok {
						answered++
					}
				})
			}
		}
	}
	if t.Logf("%d messages answered by the kernel", answered); answered < 50_000 {
		t.Error("the world is not what it was meant to be")
	}
}
