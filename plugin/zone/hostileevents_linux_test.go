package zone

import (
	"fmt"
	"net/netip"
	"testing"
)

// hostileEvent is what a stranger writes, again and again, where n is large.
type hostileEvent struct {
	what  string
	world func(n int) []Object
	// forms are two forms of what is written, in turn; nil deletes the other.
	forms func(n int) [2]Object
}

// oneSlice returns a slice of n endpoints behind those of slicesOf, which has
// them all but the first in the second form.
func oneSlice(n int, endpoint func(i int) Endpoint) (forms [2]Object) {
	for form := range forms {
		var list []Endpoint
		for i := form; i < n; i++ {
			list = append(list, endpoint(1<<22+i))
		}
		forms[form] = &EndpointSlice{Key: Key{"a", "s100"}, Service: "db", Ports: httpPort, Ready: NewEndpoints(list)}
	}
	return forms
}

func plainEndpoint(i int) Endpoint { return Endpoint{Addr: ip(i)} }
func namedEndpoint(i int) Endpoint { return Endpoint{Addr: ip(i), Name: fmt.Sprintf("h%d", i)} }
func oneName(i int) Endpoint       { return Endpoint{Addr: ip(i), Name: "h"} }
func oneAddress(int) Endpoint      { return Endpoint{Addr: ip(7)} }

func in(each int, endpoint func(int) Endpoint) func(int) []Object {
	return func(n int) []Object { return slicesOf(n, each, endpoint) }
}

func web(n int, change func(*Service, int)) (forms [2]Object) {
	for form := range forms {
		s := &Service{Key: Key{"a", "web"}, Ports: httpPort, ClusterIPs: []netip.Addr{ip(1)}}
		change(s, n-form)
		forms[form] = s
	}
	return forms
}

var hostileEvents = []hostileEvent{
	{"endpoints: one of a slice", in(100, plainEndpoint), func(int) [2]Object { return oneSlice(100, plainEndpoint) }},
	{"hostnames: one of a slice", in(100, namedEndpoint), func(int) [2]Object { return oneSlice(100, namedEndpoint) }},
	{"endpoints of one hostname: one of a slice", in(100, oneName), func(int) [2]Object { return oneSlice(100, oneName) }},
	{"times one address: one time", in(100, oneAddress), func(int) [2]Object { return oneSlice(100, oneAddress) }},
	{"times one address in a slice: one time", in(100, plainEndpoint), func(n int) [2]Object { return oneSlice(n, oneAddress) }},
	{"slices: one", in(1, plainEndpoint), func(int) [2]Object { return oneSlice(1, plainEndpoint) }},
	{"endpoints of a slice: one", in(100, plainEndpoint), func(n int) [2]Object { return oneSlice(n, plainEndpoint) }},
	{"endpoints of a slice: all", in(100, plainEndpoint), func(n int) [2]Object { return [2]Object{oneSlice(n, plainEndpoint)[0], nil} }},
	{"zones of a slice", in(100, plainEndpoint), func(n int) [2]Object {
		return oneSlice(n, func(i int) Endpoint { return Endpoint{Addr: ip(i), Zone: fmt.Sprint(i)} })
	}},
	{"endpoints: the service changes what it publishes", in(100, namedEndpoint), func(int) [2]Object {
		return [2]Object{&Service{Key: headless.Key, Kind: Headless}, &Service{Key: headless.Key, Kind: Headless, PublishNotReady: true}}
	}},
	{"endpoints: the service comes and goes", in(100, namedEndpoint), func(int) [2]Object { return [2]Object{headless, nil} }},
	{"ports of a Service", nil, func(n int) [2]Object { return web(n, func(s *Service, n int) { s.Ports = manyPorts(n) }) }},
	{"ports of a slice", in(100, plainEndpoint), func(n int) [2]Object {
		forms := oneSlice(100, plainEndpoint)
		forms[0].(*EndpointSlice).Ports, forms[1].(*EndpointSlice).Ports = manyPorts(n), manyPorts(n-1)
		return forms
	}},
	{"external addresses: one", nil, func(n int) [2]Object {
		return web(n, func(s *Service, n int) { s.External = NewExternal(ips(n), nil) })
	}},
	{"external addresses: all", nil, func(n int) [2]Object {
		forms := web(n, func(s *Service, n int) { s.External = NewExternal(ips(n), nil) })
		forms[1] = nil
		return forms
	}},
	{"external host names: one", nil, func(n int) [2]Object {
		return web(n, func(s *Service, n int) { s.External = NewExternal(nil, hosts(n)) })
	}},
	{"services of one address: one", servicesOfOneAddress, func(int) [2]Object {
		return [2]Object{&EndpointSlice{Key: Key{"a", "s7"}, Service: "s7", Ready: NewEndpoints([]Endpoint{{Addr: ip(7)}})}, nil}
	}},
	{"pods of one address: one", podsOfOneAddress, func(int) [2]Object {
		return [2]Object{&Pod{Key: Key{"a", "one"}, Addrs: []netip.Addr{ip(7)}}, nil}
	}},
}

func podsOfOneAddress(n int) (all []Object) {
	for i := range n {
		all = append(all, &Pod{Key: Key{"a", fmt.Sprint(i)}, Addrs: []netip.Addr{ip(7)}})
	}
	return all
}

// An event about one of n things costs as many times as much as there are more
// of them, and making what is written costs no more.
func TestHostileEvents(t *testing.T) {
	n := hostileSize()
	plain := 65536 * plainCost(t)()
	for _, h := range hostileEvents {
		if h.world == nil {
			h.world = func(int) []Object { return nil }
		}
		var do, form [2]func()
		for i, n := range []int{n, 10 * n} {
			w := (&hostile{world: h.world}).of(n)
			forms, turn := h.forms(n), 0
			do[i] = func() {
				o := forms[turn&1]
				w.update([]change{{fn: func(b *Batch) {
					if o != nil {
						b.Set(o)
					} else {
						b.Delete(forms[0].Resource(), forms[0].ObjectKey(), 1)
					}
				}}})
				turn++
			}
			form[i] = func() { h.forms(n) }
		}
		within(t, fmt.Sprintf("%d %s", n, h.what), do[0], do[1], plain)
		within(t, fmt.Sprintf("making %d %s", n, h.what), form[0], form[1], plain)
	}
}

// keepingWriter returns a Writer that gives no memory back to the system when very
// many objects go. Taking it anew, and the collection, would count for the large
// world alone.
func keepingWriter() *Writer {
	w := NewWriter()
	w.freeing.Store(true)
	return w
}

// All of it at once, and none of it, costs no more than n times as much either. Ten
// small worlds stand beside the large one, since they take as much room in a
// processor's caches, and as much new memory.
func TestHostileLists(t *testing.T) {
	n := hostileSize()
	plain := 65536 * plainCost(t)()
	for _, h := range hostiles {
		var small [10][]Object
		for i := range small {
			small[i] = h.objects(n)
		}
		ten, many := listed(small[:]...), listed(h.objects(10*n))
		holds(t, fmt.Sprintf("%d %s, listed", n, h.what), func() (bool, string) {
			few, many := cost(ten), cost(many)
			few = min(few, cost(ten))
			return 10*float64(many) <= mostRatio*(float64(few)+10*plain), fmt.Sprintf("ten times %v, and ten times as many %v", few/10, many)
		})
	}
}

// listed returns what makes a world of each of these, and then empties them all.
func listed(worlds ...[]Object) func() {
	return func() {
		var all []*Writer
		for _, objects := range worlds {
			w := keepingWriter()
			w.update([]change{{fn: func(b *Batch) { replaceWith(b, objects) }}})
			all = append(all, w)
		}
		for _, w := range all {
			w.update([]change{{fn: func(b *Batch) { replaceWith(b, nil) }}})
		}
	}
}

// Very many objects may share an address. That they come and go costs as much
// for each, together or one after the other: no more than ten times fewer tell, or
// some more than as many with addresses of their own, since a large index takes
// longer in a processor's caches.
func TestHostileSharedAddress(t *testing.T) {
	n := 10 * hostileSize()
	plain := 65536 * plainCost(t)()
	shared := func(int) netip.Addr { return ip(7) }
	for what, world := range map[string]func(addr func(int) netip.Addr) func(i int) []Object{
		"headless services": func(addr func(int) netip.Addr) func(int) []Object {
			return func(i int) []Object {
				k := Key{"a", fmt.Sprint("s", i)}
				return []Object{&Service{Key: k, Kind: Headless}, &EndpointSlice{Key: k, Service: k.Name, Ready: NewEndpoints([]Endpoint{{Addr: addr(i)}})}}
			}
		},
		"ClusterIP services": func(addr func(int) netip.Addr) func(int) []Object {
			return func(i int) []Object {
				return []Object{&Service{Key: Key{"a", fmt.Sprint("s", i)}, ClusterIPs: []netip.Addr{addr(i)}}}
			}
		},
		"external services": func(addr func(int) netip.Addr) func(int) []Object {
			return func(i int) []Object {
				return []Object{&Service{Key: Key{"a", fmt.Sprint("s", i)}, External: NewExternal([]netip.Addr{addr(i)}, nil)}}
			}
		},
		"pods": func(addr func(int) netip.Addr) func(int) []Object {
			return func(i int) []Object {
				return []Object{&Pod{Key: Key{"a", fmt.Sprint(i)}, Addrs: []netip.Addr{addr(i)}}}
			}
		},
	} {
		objects := func(n int, addr func(int) netip.Addr) (all []Object) {
			for i := range n {
				all = append(all, world(addr)(i)...)
			}
			return all
		}
		together := func(n int, addr func(int) netip.Addr) func() {
			all := objects(n, addr)
			return func() {
				w := keepingWriter()
				w.update([]change{{fn: func(b *Batch) { replaceWith(b, all) }}})
				w.update([]change{{fn: func(b *Batch) { replaceWith(b, nil) }}})
			}
		}
		oneByOne := func(n int) func() {
			all := objects(n, shared)
			return func() {
				w := keepingWriter()
				for _, o := range all {
					w.update([]change{{fn: func(b *Batch) { b.Set(o) }}})
				}
				for _, o := range all {
					w.update([]change{{fn: func(b *Batch) { b.Delete(o.Resource(), o.ObjectKey(), 1) }}})
				}
			}
		}
		few, many, apart := together(n, shared), together(10*n, shared), together(10*n, ip)
		holds(t, fmt.Sprintf("%d %s of one address, together", n, what), func() (bool, string) {
			if cost(many) <= 2*cost(apart) {
				return true, ""
			}
			return isWithin(few, many, plain)
		})
		within(t, fmt.Sprintf("%d %s of one address, one by one", n/10, what), oneByOne(n/10), oneByOne(n), plain)
	}
}
