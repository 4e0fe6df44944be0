package zone

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// entry is a value of a test trie: a key, and what is stored under it.
type entry struct{ key, value int }

// pair drives a trie and a map with the same writes. hash is the test's to
// choose, so that keys collide at will.
type pair struct {
	t    testing.TB
	hash func(key int) uint64
	trie trie[entry]
	want map[int]int
	edit edit
}

func newPair(t testing.TB, hash func(int) uint64) *pair {
	return &pair{t: t, hash: hash, want: map[int]int{}, edit: 1}
}

func (p *pair) set(key, value int) {
	p.trie.set(p.edit, p.hash(key), entry{key, value}, func(e entry) bool { return e.key == key })
	p.want[key] = value
}

func (p *pair) remove(key int) {
	p.trie.remove(p.edit, p.hash(key), func(e entry) bool { return e.key == key })
	delete(p.want, key)
}

func (p *pair) check() {
	p.t.Helper()
	if err := checkTrie("test", p.trie); err != nil {
		p.t.Fatal(err)
	}
	if got := contents(p.trie); !maps.Equal(got, p.want) {
		p.t.Fatalf("trie holds %v, want %v", got, p.want)
	}
	for key, value := range p.want {
		if e, ok := get(p.trie, p.hash(key), key); !ok || e.value != value {
			p.t.Fatalf("key %d: %v, %v, want %d", key, e, ok, value)
		}
	}
}

func get(t trie[entry], hash uint64, key int) (entry, bool) {
	for _, l := range t.at(hash) {
		if l.value.key == key {
			return l.value, true
		}
	}
	return entry{}, false
}

func contents(t trie[entry]) map[int]int {
	m := map[int]int{}
	for l := range t.all {
		m[l.value.key] = l.value.value
	}
	return m
}

// trieHashes are ways to make keys of small numbers meet in the trie.
var trieHashes = map[string]func(key int) uint64{
	"spread":        func(k int) uint64 { return uint64(k+1) * 0x9E3779B97F4A7C15 },
	"small":         func(k int) uint64 { return uint64(k) },
	"high bits":     func(k int) uint64 { return uint64(k) << 58 },
	"equal":         func(int) uint64 { return 0xDEADBEEF },
	"four hashes":   func(k int) uint64 { return uint64(k&3) << 62 },
	"equal prefix":  func(k int) uint64 { return uint64(k)<<50 | 0x3FFFF },
	"one bit apart": func(k int) uint64 { return 1 << (k & 63) },
}

func TestTrieAgainstMap(t *testing.T) {
	for name, hash := range trieHashes {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(len(name))))
			p := newPair(t, hash)
			type version struct {
				trie trie[entry]
				want map[int]int
			}
			var old []version
			for step := range 4000 {
				if rng.IntN(20) == 0 { // publish
					old = append(old, version{p.trie, maps.Clone(p.want)})
					p.edit++
				}
				key := rng.IntN(1 + rng.IntN(80))
				if grow := step/500%2 == 0; rng.IntN(3) > 0 == grow {
					p.set(key, step)
				} else {
					p.remove(key)
				}
				if rng.IntN(10) == 0 {
					p.check()
				}
			}
			for i, v := range old {
				if got := contents(v.trie); !maps.Equal(got, v.want) || v.trie.len != len(v.want) {
					t.Fatalf("version %d of %d changed afterwards: %v, want %v", i, len(old), got, v.want)
				}
				if err := checkTrie("old version", v.trie); err != nil {
					t.Fatal(err)
				}
			}
			for key := range maps.Clone(p.want) {
				p.remove(key)
				p.check()
			}
			if p.trie.root != nil || p.trie.len != 0 {
				t.Errorf("emptied, the trie has root %v, len %d", p.trie.root, p.trie.len)
			}
		})
	}
}

func TestTrieZero(t *testing.T) {
	var tr trie[entry]
	if got := tr.at(0); got != nil {
		t.Errorf("at of the empty trie: %v", got)
	}
	tr.remove(1, 0, func(entry) bool { return true })
	for range tr.all {
		t.Error("the empty trie has a leaf")
	}
	if tr.len != 0 || tr.root != nil {
		t.Errorf("after a remove: %+v", tr)
	}
}

// Two hashes that differ in their last bits alone make the longest path there
// is; taking one out pulls the other up all the way.
func TestTriePullUp(t *testing.T) {
	for _, hashes := range [][2]uint64{{0, 1 << 63}, {0x7FFF << 40, 0x7FFF<<40 | 1<<60}, {5, 5}} {
		p := newPair(t, func(k int) uint64 { return hashes[k] })
		p.set(0, 10)
		p.set(1, 11)
		p.check()
		if depth := p.trie.root.depth(); depth < 13 {
			t.Errorf("%x: depth %d", hashes, depth)
		}
		p.remove(0)
		p.check()
		if p.trie.root.depth() != 1 {
			t.Errorf("%x: after the remove, depth %d", hashes, p.trie.root.depth())
		}
	}
}

func (n *node[V]) depth() (d int) {
	for _, c := range n.children {
		d = max(d, c.depth())
	}
	return d + 1
}

// What a remove does not find it does not copy.
func TestTrieRemoveAbsent(t *testing.T) {
	p := newPair(t, trieHashes["spread"])
	for k := range 100 {
		p.set(k, k)
	}
	p.edit++
	root := p.trie.root
	p.remove(1000)
	p.trie.remove(p.edit, p.hash(7), func(entry) bool { return false })
	if p.trie.root != root {
		t.Error("removing nothing made a new root")
	}
	p.check()
}

// Within a batch nodes are changed in place, across batches they are copied,
// and no others than those on the path.
func TestTrieSharing(t *testing.T) {
	p := newPair(t, trieHashes["spread"])
	for k := range 2000 {
		p.set(k, k)
	}
	published := p.trie
	p.edit++
	p.set(5, 50)
	if p.trie.root == published.root {
		t.Fatal("a published root was changed in place")
	}
	fresh := p.trie.root
	p.set(6, 60)
	if p.trie.root != fresh {
		t.Error("a root of this batch was copied")
	}
	shared := 0
	for _, c := range p.trie.root.children {
		if slices.Contains(published.root.children, c) {
			shared++
		}
	}
	if n := len(p.trie.root.children); shared < n-2 {
		t.Errorf("%d of %d children shared after two writes", shared, n)
	}
	p.check()
}

func TestTrieAllStops(t *testing.T) {
	p := newPair(t, trieHashes["small"])
	for k := range 200 {
		p.set(k, k)
	}
	for stop := 1; stop < 200; stop += 17 {
		n := 0
		for range p.trie.all {
			if n++; n == stop {
				break
			}
		}
		if n != stop {
			t.Errorf("stopped after %d, not %d", n, stop)
		}
	}
}

// FuzzTrie reads operations of nine octets: what to do with which key, and the
// eight octets are its hash from then on.
func FuzzTrie(f *testing.F) {
	f.Add([]byte("\x00aaaaaaaa\x01aaaaaaab\x02aaaaaaaa\x83........\x00        "))
	f.Add([]byte("\x00aaaaaaaa\x01aaaaaaaa\x02aaaaaaaa\x80........\xC0........\x81........"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		hashes := map[int]uint64{}
		p := newPair(t, func(k int) uint64 { return hashes[k] })
		var before trie[entry]
		var want map[int]int
		for i := 0; i+9 <= len(ops); i += 9 {
			key := int(ops[i] & 0x1F)
			if _, ok := hashes[key]; !ok {
				hashes[key] = binary.LittleEndian.Uint64(ops[i+1:])
			}
			if ops[i]&0x40 != 0 {
				before, want = p.trie, maps.Clone(p.want)
				p.edit++
			}
			if ops[i]&0x80 != 0 {
				p.remove(key)
			} else {
				p.set(key, i)
			}
			p.check()
		}
		if want != nil && !maps.Equal(contents(before), want) {
			t.Fatalf("an earlier version is %v, was %v", contents(before), want)
		}
	})
}

func BenchmarkTrie(b *testing.B) {
	for _, n := range []int{100, 10_000, 1_000_000} {
		var tr trie[entry]
		hash := trieHashes["spread"]
		for k := range n {
			tr.set(1, hash(k), entry{k, k}, func(entry) bool { return false })
		}
		b.Run(fmt.Sprintf("at/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			k := 0
			for b.Loop() {
				if tr.at(hash(k%n)) == nil {
					b.Fatal("lost")
				}
				k += 7919
			}
		})
		b.Run(fmt.Sprintf("set/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			k := 0
			for b.Loop() {
				key := k % n
				tr.set(edit(k+2), hash(key), entry{key, k}, func(e entry) bool { return e.key == key })
				k += 7919
			}
		})
	}
}
