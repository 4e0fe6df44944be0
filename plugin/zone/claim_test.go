package zone

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestNewHostName(t *testing.T) {
	long := strings.Repeat("a.", maxHostLabels-1) + "a"
	for text, want := range map[string]string{
		"Shop.Example.ORG": "shop.example.org.", "shop.example.org.": "shop.example.org.", "*.example.org": "*.example.org.",
		"_acme.example.org": "_acme.example.org.", "1.2": "1.2.", "local": "local.", long: long + ".",
		"": "", ".": "", "*": "", "*.": "", "a..b": "", ".a": "", "a*.b": "", "a.*.b": "", "**.b": "", "bücher.example": "",
		"a b": "", `a\.b`: "", "a/b": "", strings.Repeat("a", 64): "", "a." + long: "", strings.Repeat("abcdefghi.", 26): "",
	} {
		h, ok := NewHostName(text)
		if ok != (want != "") || ok && h.String() != want {
			t.Errorf("%q: %v, %v, want %q", text, h, ok, want)
		}
	}
}

// TestClaims makes random changes to claims, and then checks what the index has of
// names against what is there.
func TestClaims(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{"a.e", "b.a.e", "*.a.e", "x.y.b.a.e", "e", "other"}
	w, held := NewWriter(), map[Key]*Claim{}
	for step := range 2000 {
		w.Update(func(b *Batch) {
			for range 1 + random.IntN(3) {
				c := randomClaim(random, names)
				switch random.IntN(8) {
				case 0, 1, 2:
					b.Delete(Ingresses, c.Key, uint64(step))
					delete(held, c.Key)
				case 3:
					clear(held)
					held[c.Key] = c
					b.Replace(Ingresses, []Object{c}, uint64(step))
				default:
					b.Set(c)
					held[c.Key] = c
				}
			}
		})
		checkClaims(t, w.Index().current.Load(), held, names)
		if t.Failed() {
			t.Fatalf("step %d: %v", step, held)
		}
	}
}

func randomClaim(random *rand.Rand, names []string) *Claim {
	c := &Claim{Key: Key{"ns", fmt.Sprint(random.IntN(12))}, Of: Ingresses, Created: int64(random.IntN(4)), Version: random.Uint64N(1000)}
	to := NewExternal(ips(1+random.IntN(2)), nil)
	var list []HostName
	for range random.IntN(4) {
		h, _ := NewHostName(names[random.IntN(len(names))])
		h.To = to
		list = append(list, h)
	}
	c.SetNames(list)
	return c
}

func checkClaims(t *testing.T, s *snapshot, held map[Key]*Claim, names []string) {
	t.Helper()
	claimed := map[string][]*Claim{}
	parents := map[string]uint32{}
	for _, c := range held {
		for _, h := range c.Names {
			claimed[h.String()] = append(claimed[h.String()], c)
		}
	}
	for name := range claimed {
		for _, rest, ok := strings.Cut(name, "."); ok && rest != ""; _, rest, ok = strings.Cut(rest, ".") {
			parents[rest]++
		}
	}
	contested := 0
	for _, name := range names {
		h, _ := NewHostName(name)
		want := claimed[h.String()]
		slices.SortFunc(want, func(a, b *Claim) int { // by what it means, not by compare
			if a.Created != b.Created {
				return int(a.Created - b.Created)
			}
			return strings.Compare(a.Name, b.Name)
		})
		var got []*Claim
		if set := s.claimsOf(h.name); set != nil {
			got = set.list
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d claims, want %d", name, len(got), len(want))
			continue
		}
		differ := false
		for i := range got {
			if got[i].Key != want[i].Key {
				t.Errorf("%s: claim %d is of %v, want %v", name, i, got[i].Key, want[i].Key)
			}
			differ = differ || !got[i].on(h.name).To.equal(got[0].on(h.name).To)
		}
		if differ {
			contested++
		}
		if below, ok := s.below(hashBelow(h.name, Ingresses)); below != parents[h.String()] || ok != (below > 0) {
			t.Errorf("%s: %d names below, want %d", name, below, parents[h.String()])
		}
	}
	if s.contested.len != contested || s.claims.len != len(claimed) || s.parents.len != len(parents) {
		t.Errorf("%d contested, %d names, %d above them, want %d, %d, %d",
			s.contested.len, s.claims.len, s.parents.len, contested, len(claimed), len(parents))
	}
}

func TestUnion(t *testing.T) {
	for _, row := range [][3]string{
		{"", "", ""}, {"ac", "", "ac"}, {"", "ac", "ac"}, {"ac", "ac", "ac"}, {"ad", "bce", "abcde"}, {"bcd", "ac", "abcd"}, {"a", "abc", "abc"},
	} {
		for _, width := range []int{4, 16} { // a letter stands for an address
			wide := func(letters string) (packed []byte) {
				for _, c := range []byte(letters) {
					packed = append(packed, slices.Repeat([]byte{c}, width)...)
				}
				return packed
			}
			if got, want := string(union(wide(row[0]), wide(row[1]), width)), string(wide(row[2])); got != want {
				t.Errorf("%q and %q: %q, want %q", row[0], row[1], got, want)
			}
		}
	}
}
