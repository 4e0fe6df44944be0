package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

var source = Source(sha256.Sum256([]byte("https://192.0.2.1")))

func pick[T any](rng *rand.Rand, pool ...T) T { return pool[rng.IntN(len(pool))] }

func someAddrs(rng *rand.Rand) (addrs []netip.Addr) {
	for range rng.IntN(4) {
		addrs = append(addrs, pick(rng, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1"), netip.AddrFrom4([4]byte{10, 1, byte(rng.IntN(256)), 1})))
	}
	return addrs
}

func somePorts(rng *rand.Rand) (ports []zone.Port) {
	for range rng.IntN(3) {
		ports = append(ports, zone.Port{Name: pick(rng, "", "http", "dns"), Protocol: pick(rng, "TCP", "UDP", ""), Number: pick[int32](rng, -1, 0, 80, 1<<31-1, -1<<31)})
	}
	return ports
}

func someEndpoints(rng *rand.Rand) zone.Endpoints {
	var list []zone.Endpoint
	named, zonal := rng.IntN(2) == 0, rng.IntN(2) == 0
	for _, addr := range append(someAddrs(rng), someAddrs(rng)...) {
		e := zone.Endpoint{Addr: addr}
		if named {
			e.Name = pick(rng, "", "web-0", "Web-1", strings.Repeat("x", 63))
		}
		if zonal {
			e.Zone = pick(rng, "", "a", "b")
		}
		list = append(list, e)
	}
	return zone.NewEndpoints(list)
}

func someService(rng *rand.Rand, n int) zone.Service {
	s := zone.Service{Key: zone.Key{Namespace: pick(rng, "shop", "", "ns"), Name: fmt.Sprintf("s%d", n)}, Version: rng.Uint64() >> rng.IntN(64),
		Kind: zone.Kind(rng.IntN(3)), PublishNotReady: rng.IntN(2) == 0, ClusterIPs: someAddrs(rng), Ports: somePorts(rng)}
	if s.Kind == zone.ExternalName {
		s.ExternalName = pick(rng, "", "db.example.org", "\x00 not a name")
	}
	if rng.IntN(2) == 0 {
		s.External = zone.NewExternal(someAddrs(rng), pick(rng, nil, []string{"lb.example.org", "LB.example.org", `a\.b.example.org`}))
	}
	return s
}

// someState makes a state up.
func someState(rng *rand.Rand) *State {
	s := &State{Source: source, Serial: rng.Uint32(), Last: rng.IntN(2) == 0}
	for _, r := range []zone.Resource{zone.Namespaces, zone.Services, zone.EndpointSlices, zone.ServiceImports} {
		if rng.IntN(4) == 0 {
			continue
		}
		sec := Section{Resource: r, Contact: time.Unix(0, rng.Int64()), Objects: []zone.Object{}}
		for n := range rng.IntN(6) {
			switch r {
			case zone.Namespaces:
				sec.Objects = append(sec.Objects, &zone.Namespace{Name: fmt.Sprint("ns", n), Version: rng.Uint64()})
			case zone.Services:
				service := someService(rng, n)
				sec.Objects = append(sec.Objects, &service)
			case zone.ServiceImports:
				sec.Objects = append(sec.Objects, &zone.ServiceImport{Service: someService(rng, n)})
			case zone.EndpointSlices:
				slice := &zone.EndpointSlice{Key: zone.Key{Namespace: "shop", Name: fmt.Sprint("e", n)}, Version: rng.Uint64(), Service: pick(rng, "", "s1"),
					Ports: somePorts(rng), Ready: someEndpoints(rng)}
				if rng.IntN(2) == 0 {
					set := someEndpoints(rng)
					slice.NotReady = &set
				}
				if rng.IntN(2) == 0 {
					slice.Imported = &zone.Imported{Service: "web", Cluster: pick(rng, "", "east")}
				}
				sec.Objects = append(sec.Objects, slice)
			}
		}
		s.Sections = append(s.Sections, sec)
	}
	return s
}

func encoded(t testing.TB, s *State) []byte {
	t.Helper()
	data, err := Append(nil, s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		want := someState(rng)
		data := encoded(t, want)
		got, err := Parse(data, source)
		if err != nil {
			t.Fatalf("%v of %+v", err, want)
		}
		clear(data) // nothing refers to it
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %s\nwant %s", dump(got), dump(want))
		}
	}
}

func dump(s *State) string {
	var b strings.Builder
	fmt.Fprintf(&b, "serial %d, last %v", s.Serial, s.Last)
	for _, sec := range s.Sections {
		fmt.Fprintf(&b, "\n%s %v", sec.Resource, sec.Contact)
		for _, o := range sec.Objects {
			fmt.Fprintf(&b, "\n  %+v", o)
		}
	}
	return b.String()
}

// sealed returns a file with its length and checksum put right.
func sealed(data []byte) []byte {
	data = slices.Clone(data)
	binary.BigEndian.PutUint64(data[headerLen-8:], uint64(len(data)))
	sum := sha256.Sum256(data[:len(data)-checksumLen])
	copy(data[len(data)-checksumLen:], sum[:])
	return data
}

// Every octet that is not as it was written, and every end that is not where it
// was, is noticed; with a checksum put right it is at least no panic.
func TestDamage(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	data := encoded(t, someState(rng))
	for len(data) < 600 {
		data = encoded(t, someState(rng))
	}
	for i := range data {
		for _, bad := range []byte{data[i] ^ 1, data[i] ^ 0x80, 0, 0xff} {
			if bad == data[i] {
				continue
			}
			damaged := slices.Clone(data)
			damaged[i] = bad
			want := ErrDamaged
			if 8 <= i && i < 12 {
				want = ErrVersion
			}
			if _, err := Parse(damaged, source); !errors.Is(err, want) {
				t.Fatalf("octet %d is %#x: %v", i, bad, err)
			}
			if i < len(data)-checksumLen {
				_, _ = Parse(sealed(damaged), source)
			}
		}
		if _, err := Parse(data[:i], source); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v", i, err)
		}
		if i >= headerLen+checksumLen {
			if _, err := Parse(sealed(data[:i]), source); !errors.Is(err, ErrDamaged) {
				t.Fatalf("cut at %d, with a checksum: %v", i, err)
			}
		}
	}
	if _, err := Parse(append(slices.Clone(data), 0), source); !errors.Is(err, ErrDamaged) {
		t.Errorf("an octet behind the end: %v", err)
	}
	if _, err := Parse(sealed(append(slices.Clone(data), 0)), source); !errors.Is(err, ErrDamaged) {
		t.Errorf("an octet behind the last section: %v", err)
	}
	if _, err := Parse(data, Source{1}); !errors.Is(err, ErrSource) {
		t.Errorf("another source: %v", err)
	}
}

// file is a sealed file with a section of the given resource, number of objects
// and length, and these octets in it.
func file(resource, count uint32, length uint64, body ...byte) []byte {
	data, _ := Append(nil, &State{Source: source})
	data = data[:headerLen]
	binary.BigEndian.PutUint32(data[52:], 1)
	data = binary.BigEndian.AppendUint32(data, resource)
	data = binary.BigEndian.AppendUint32(data, count)
	data = binary.BigEndian.AppendUint64(data, 0)
	data = binary.BigEndian.AppendUint64(data, length)
	return sealed(append(append(data, body...), make([]byte, checksumLen)...))
}

// No number in a file makes the reader allocate what the file has no room for.
func TestHostileNumbers(t *testing.T) {
	huge := binary.AppendUvarint(nil, 1<<62)
	slice := []byte{0, 0, 0, 0, 0} // flags, key, version, service
	section := func(resource uint32, count uint32, body ...byte) []byte {
		return file(resource, count, uint64(len(body)), body...)
	}
	for what, data := range map[string][]byte{
		"objects":                   file(0, 1<<32-1, 4, 0, 0, 0, 0),
		"length of a section":       file(0, 1, 1<<63, 0, 0),
		"an unknown resource":       section(200, 1, 0, 0),
		"pods":                      section(uint32(zone.Pods), 1, 0, 0),
		"a resource above an octet": section(256, 1, 0, 0),
		"a name":                    section(0, 1, append(huge, 0)...),
		"a number without an end":   section(0, 1, bytes.Repeat([]byte{0x80}, 20)...),
		"ports of a slice":          section(2, 1, slices.Concat(slice, huge, []byte{0, 0})...),
		"endpoints":                 section(2, 1, slices.Concat(slice, []byte{0}, huge, []byte{0, 0})...),
		"an address of 5 octets":    section(2, 1, slices.Concat(slice, []byte{0, 1, 0, 5, 1, 2, 3, 4, 5})...),
		"flags of a slice":          section(2, 1, 0x80, 0, 0, 0, 0, 0, 0, 0),
		"flags of a service":        section(1, 1, 3, 0, 0, 0, 0, 0),
		"ClusterIPs":                section(1, 1, slices.Concat([]byte{0, 0, 0, 0}, huge, []byte{0})...),
		"hosts":                     section(1, 1, slices.Concat([]byte{hasExternal, 0, 0, 0, 0, 0, 0}, huge)...),
		"not so many hosts":         section(1, 1, slices.Concat([]byte{hasExternal, 0, 0, 0, 0, 0, 0}, binary.AppendUvarint(nil, 1<<19))...),
		"a port's number":           section(1, 1, slices.Concat([]byte{0, 0, 0, 0, 0, 1, 0, 0}, binary.AppendVarint(nil, 1<<40))...),
		"octets behind the objects": section(0, 1, 0, 0, 0),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse(data, source)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
			t.Errorf("%s: %d octets allocated for a file of %d", what, n, len(data))
		}
	}
	if _, err := Parse(section(0, 1, 1, 'a', 0), source); err != nil {
		t.Errorf("the tests' own file: %v", err)
	}
}

// FuzzParse has the fuzzer write what is between header and checksum. What is
// taken for a state is one.
func FuzzParse(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		f.Add(encoded(f, someState(rng))[48:])
	}
	f.Fuzz(func(t *testing.T, rest []byte) {
		data, _ := Append(nil, &State{Source: source})
		if len(rest) < 16 || len(rest) > 1<<16 {
			return
		}
		data = sealed(append(append(data[:48:48], rest...), make([]byte, checksumLen)...))
		got, err := Parse(data, source)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		w := zone.NewWriter()
		saved := &zone.Saved{Serial: got.Serial, Objects: map[zone.Resource][]zone.Object{}}
		for _, sec := range got.Sections {
			saved.Objects[sec.Resource] = sec.Objects
		}
		w.Update(func(b *zone.Batch) { b.Restore(saved) })
		// What was no name, and the like, is left out once.
		again, err := Parse(encoded(t, got), source)
		if err != nil {
			t.Fatal(err)
		}
		if third, err := Parse(encoded(t, again), source); err != nil || !reflect.DeepEqual(third, again) {
			t.Fatalf("%v\nagain %s\nthen  %s", err, dump(again), dump(third))
		}
	})
}

func TestFresh(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		services, slices time.Duration // ages
		max              time.Duration
		want, reason     string
	}{
		{time.Minute, time.Minute, DefaultMaxAge, "services endpointslices", ""},
		{24 * time.Hour, time.Hour, DefaultMaxAge, "services endpointslices", ""},
		{2 * time.Hour, time.Hour + 1, DefaultMaxAge, "services", "too_old"},
		{24*time.Hour + 1, time.Minute, DefaultMaxAge, "endpointslices", "too_old"},
		{25 * time.Hour, 25 * time.Hour, DefaultMaxAge, "", "too_old"},
		{25 * time.Hour, 25 * time.Hour, 48 * time.Hour, "services", "too_old"},
		{time.Minute, time.Minute, 30 * time.Second, "", "too_old"},
		{-time.Minute, 0, DefaultMaxAge, "services endpointslices", ""},
		{-2 * time.Minute, 0, DefaultMaxAge, "", "future"},
		{0, -time.Hour, DefaultMaxAge, "", "future"},
	} {
		s := &State{Sections: []Section{{Resource: zone.Services, Contact: now.Add(-tc.services)}, {Resource: zone.EndpointSlices, Contact: now.Add(-tc.slices)}}}
		err := s.Fresh(now, tc.max)
		var kept []string
		for _, sec := range s.Sections {
			kept = append(kept, sec.Resource.String())
		}
		if got := strings.Join(kept, " "); got != tc.want || (err == nil) != (tc.reason == "") || err != nil && Reason(err) != tc.reason {
			t.Errorf("%+v: %q, %v", tc, got, err)
		}
	}
}

func TestReasons(t *testing.T) {
	for _, err := range []error{ErrDamaged, ErrVersion, ErrSource, ErrSize, ErrTooOld, ErrFuture, errors.New("anything")} {
		if word := Reason(fmt.Errorf("snapshot: %w", err)); !slices.Contains(Reasons, word) {
			t.Errorf("%v is %q, which is none of Reasons", err, word)
		}
	}
}

// cluster makes the state of a cluster with so many services of 15 endpoints.
func cluster(services int) *State {
	sections := []Section{{Resource: zone.Namespaces}, {Resource: zone.Services}, {Resource: zone.EndpointSlices}}
	for n := range services {
		k := zone.Key{Namespace: fmt.Sprint("namespace-", n/100), Name: fmt.Sprint("service-", n)}
		if n%100 == 0 {
			sections[0].Objects = append(sections[0].Objects, &zone.Namespace{Name: k.Namespace, Version: uint64(n)})
		}
		ports := []zone.Port{{Name: "http", Protocol: "TCP", Number: 8080}}
		s := &zone.Service{Key: k, Version: uint64(100000 + n), Ports: ports}
		if s.Kind = zone.Kind(n % 2); s.Kind == zone.ClusterIP {
			s.ClusterIPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(n >> 8), byte(n)})}
		}
		sections[1].Objects = append(sections[1].Objects, s)
		var list []zone.Endpoint
		for e := range 15 {
			list = append(list, zone.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 128 + byte(e), byte(n >> 8), byte(n)})})
		}
		k.Name += "-abcde"
		sections[2].Objects = append(sections[2].Objects, &zone.EndpointSlice{Key: k, Version: uint64(200000 + n), Service: s.Name, Ports: ports, Ready: zone.NewEndpoints(list)})
	}
	for i := range sections {
		sections[i].Contact = time.Unix(1763750000, 0)
	}
	return &State{Source: source, Serial: 300000, Sections: sections}
}

// BenchmarkLoad is the way from a file in memory to an index that answers, of
// 10,000 services with 150,000 endpoints, its parts, and as its peer decoding the same
// as JSON.
func BenchmarkLoad(b *testing.B) {
	s := cluster(10000)
	data := encoded(b, s)
	b.Run("whole", func(b *testing.B) {
		b.ReportMetric(float64(len(data)), "octets")
		b.ReportAllocs()
		for b.Loop() {
			got, err := Parse(data, source)
			if err != nil {
				b.Fatal(err)
			}
			restore(got)
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Parse(data, source); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			restore(s)
		}
	})
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			encoded(b, s)
		}
	})
	b.Run("json", func(b *testing.B) {
		type slice struct {
			zone.Key
			Version uint64
			Service string
			Ports   []zone.Port
			Ready   []netip.Addr
		}
		var all struct {
			Namespaces, Services []any
			Slices               []slice
		}
		for _, o := range s.Sections[0].Objects {
			all.Namespaces = append(all.Namespaces, o)
		}
		for _, o := range s.Sections[1].Objects {
			all.Services = append(all.Services, o)
		}
		for _, o := range s.Sections[2].Objects {
			o := o.(*zone.EndpointSlice)
			j := slice{Key: o.Key, Version: o.Version, Service: o.Service, Ports: o.Ports}
			for e := range o.Ready.All {
				j.Ready = append(j.Ready, e.Addr)
			}
			all.Slices = append(all.Slices, j)
		}
		text, err := json.Marshal(all)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(text)), "octets")
		b.ReportAllocs()
		for b.Loop() {
			var into struct {
				Namespaces []zone.Namespace
				Services   []zone.Service
				Slices     []slice
			}
			if err := json.Unmarshal(text, &into); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func restore(s *State) *zone.Index {
	w := zone.NewWriter()
	saved := &zone.Saved{Serial: s.Serial, Objects: map[zone.Resource][]zone.Object{}}
	for _, sec := range s.Sections {
		saved.Objects[sec.Resource] = sec.Objects
	}
	w.Update(func(b *zone.Batch) { b.Restore(saved) })
	return w.Index()
}
