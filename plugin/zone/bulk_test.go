package zone

import (
	"fmt"
	"reflect"
	"testing"
)

// What is made at once is what would have been made leaf by leaf.
func TestIndexOwners(t *testing.T) {
	for name, hash := range trieHashes {
		for _, n := range []int{0, 1, 2, 33, 1000} {
			t.Run(fmt.Sprint(name, n), func(t *testing.T) {
				var want trie[*owners]
				var leaves []leaf[*ident]
				for i := range n {
					id, _ := newIdent(Key{"shop", fmt.Sprint("s", i)})
					h := hash(i)
					leaves = append(leaves, leaf[*ident]{h, id})
					want.set(1, h, owned(ownersAt(&want, h), 1, id, true), func(*owners) bool { return true })
				}
				got := indexOwners(1, leaves)
				if err := checkTrie(name, got); err != nil {
					t.Fatal(err)
				}
				if got.len != want.len {
					t.Errorf("%d leaves, want %d", got.len, want.len)
				}
				for l := range want.all {
					if o := ownersAt(&got, l.hash); !reflect.DeepEqual(members(o), members(l.value)) {
						t.Errorf("%x belongs to %v, want %v", l.hash, members(o), members(l.value))
					}
				}
			})
		}
	}
}

func members(o *owners) map[string]bool {
	m := map[string]bool{}
	for id := range o.all {
		m[id.Name] = true
	}
	return m
}
