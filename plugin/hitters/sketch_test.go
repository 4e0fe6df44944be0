package hitters

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// check walks s and returns what of it is not as the comment on sketch has it.
func (s *sketch[K]) check() error {
	taken := 0
	for at, i := range s.table {
		if i == 0 {
			continue
		}
		taken++
		if int(i) > s.n {
			return fmt.Errorf("place %d of the table is of slot %d of %d", at, i-1, s.n)
		}
		if got := s.find(s.slots[i-1].hash); got != at {
			return fmt.Errorf("slot %d is in place %d of the table and found in %d", i-1, at, got)
		}
	}
	if taken != s.n {
		return fmt.Errorf("%d places of the table are taken, and %d slots", taken, s.n)
	}
	for at := range s.n {
		if got := s.slots[s.heap[at]].at; int(got) != at {
			return fmt.Errorf("slot %d is at %d of the heap, and says %d", s.heap[at], at, got)
		}
		if at > 0 && s.less(uint16(at), uint16(at-1)/2) {
			return fmt.Errorf("place %d of the heap has less than its parent", at)
		}
	}
	return nil
}

// streams are of 200,000 keys each.
var streams = []struct {
	name string
	of   func(random *rand.Rand) func(i int) uint64
}{
	{"Zipf", func(random *rand.Rand) func(int) uint64 {
		z := rand.NewZipf(random, 1.1, 1, 1<<20)
		return func(int) uint64 { return z.Uint64() }
	}},
	{"all different", func(*rand.Rand) func(int) uint64 {
		return func(i int) uint64 { return uint64(i) }
	}},
	// Names that are asked seldom, each as often as it takes to be held, and then never again.
	{"waves", func(*rand.Rand) func(int) uint64 {
		return func(i int) uint64 { return uint64(i / 1000) }
	}},
	{"in turn, one more than slots", func(*rand.Rand) func(int) uint64 {
		return func(i int) uint64 { return uint64(i % (Slots + 1)) }
	}},
	// Ten names with one question in a hundred each, in a flood of different ones.
	{"a flood around ten", func(random *rand.Rand) func(int) uint64 {
		return func(i int) uint64 {
			if random.IntN(10) == 0 {
				return uint64(random.IntN(10))
			}
			return 1000 + uint64(i)
		}
	}},
	// The same ten, all of whose questions come before the flood.
	{"a flood after ten", func(*rand.Rand) func(int) uint64 {
		return func(i int) uint64 {
			if i < 20_000 {
				return uint64(i % 10)
			}
			return 1000 + uint64(i)
		}
	}},
}

// TestSketch compares what a sketch holds with what was counted exactly.
func TestSketch(t *testing.T) {
	for _, stream := range streams {
		for _, weighted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, weighted %v", stream.name, weighted), func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, 2))
				next := stream.of(random)
				s := new(sketch[uint64])
				exact := map[uint64]uint64{}
				total := uint64(0)
				for i := range 200_000 {
					key, weight := next(i), uint64(1)
					if weighted {
						weight = 1 << random.IntN(6)
					}
					exact[key] += weight
					total += weight
					if k := s.add(mixed(key), weight); k != nil {
						*k = key
					}
					if i%9973 == 0 {
						if err := s.check(); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := s.check(); err != nil {
					t.Fatal(err)
				}
				held := map[uint64]bool{}
				sum := uint64(0)
				for i := range s.n {
					slot, key := s.slots[i], s.keys[i]
					held[key] = true
					sum += slot.count
					if slot.hash != mixed(key) {
						t.Fatalf("slot %d has the key of another hash", i)
					}
					if n := exact[key]; slot.count < n || slot.count-slot.err > n {
						t.Errorf("%d was there %d times; held are %d, of which %d may be others'", key, n, slot.count, slot.err)
					}
					if slot.err > total/Slots {
						t.Errorf("an error of %d: more than %d/%d", slot.err, total, Slots)
					}
				}
				if sum != total {
					t.Errorf("the counts are %d together, there were %d", sum, total)
				}
				for key, n := range exact {
					if !held[key] && n > min(s.least(), total/Slots) {
						t.Errorf("%d was there %d of %d times, and is not held; the least count is %d", key, n, total, s.least())
					}
				}
			})
		}
	}
}

// mixed is a hash without collisions among keys.
func mixed(key uint64) uint64 {
	key = (key ^ key>>33) * 0xff51afd7ed558ccd
	return key ^ key>>33
}

// TestSketchCollisions has all hashes begin at few places of the table.
func TestSketchCollisions(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	s := new(sketch[uint64])
	for i := range 5_000 {
		hash := random.Uint64N(1000)*tableSize + uint64(tableSize-1-random.IntN(2))
		if k := s.add(hash, 1); k != nil {
			*k = hash
		}
		if err := s.check(); err != nil {
			t.Fatalf("after %d: %v", i+1, err)
		}
	}
}

// BenchmarkSketch is what one sample costs in one sketch.
func BenchmarkSketch(b *testing.B) {
	for _, stream := range streams[:2] {
		b.Run(stream.name, func(b *testing.B) {
			next := stream.of(rand.New(rand.NewPCG(1, 2)))
			keys := make([]uint64, 1<<16)
			for i := range keys {
				keys[i] = mixed(next(i))
			}
			s := new(sketch[name])
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.add(keys[i%len(keys)]+uint64(i>>16), 1)
			}
		})
	}
}
