package mmsg

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestZones checks that interfaces are listed once a minute, however many
// datagrams there are, and that a list that fails takes nothing away.
func TestZones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listed := 0
		name, err := "v0", error(nil)
		z := zoneCache{list: func() ([]net.Interface, error) {
			listed++
			return []net.Interface{{Index: 2, Name: name}, {Index: 3, Name: "v1"}}, err
		}}
		check := func(wantListed int, want string) {
			t.Helper()
			for range 100 {
				if got := z.name(2); got != want {
					t.Fatalf("zone %q, want %q", got, want)
				}
				if got := z.index(want); got != 2 {
					t.Fatalf("%q is interface %d, want 2", want, got)
				}
				if a, b, c, d := z.name(9), z.index("9"), z.index("gone"), z.index(""); a != "9" || b != 9 || c != 0 || d != 0 {
					t.Fatalf("without interface: %q, %d, %d, %d", a, b, c, d)
				}
			}
			if listed != wantListed {
				t.Errorf("listed %d times, want %d", listed, wantListed)
			}
		}
		check(1, "v0")
		name = "renamed"
		check(1, "v0")
		time.Sleep(zonesFor)
		check(2, "renamed")
		err = errors.New("no memory")
		time.Sleep(zonesFor)
		check(3, "renamed")
	})
}

// TestZoneAllocs checks that a datagram from a link-local address has nothing
// listed.
func TestZoneAllocs(t *testing.T) {
	b := NewBatch(1, 512)
	b.n = 1
	b.got[0] = datagram{
		peer: netip.MustParseAddrPort("[fe80::1]:53"), peerIndex: 1,
		local: netip.MustParseAddr("fe80::2"), localIndex: 1,
	}
	f := func() {
		if zoneIndex := zones.index(b.Peer(0).Addr().Zone()); zoneIndex != 1 || b.Local(0).Zone() == "" {
			t.Fatalf("%v, %v", b.Peer(0), b.Local(0))
		}
	}
	f()
	if n := testing.AllocsPerRun(100, f); n > 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}
