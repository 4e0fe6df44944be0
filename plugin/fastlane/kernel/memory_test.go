//go:build linux && (amd64 || arm64)

package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestMemory checks what a service takes in the kernel: its name and its address's, as
// the kernel counts the maps (memlock in fdinfo; since Linux 6.4 what they hold).
func TestMemory(t *testing.T) {
	const few, many = 10_000, 100_000
	small, large := filled(t, few), filled(t, many)
	t.Logf("%d services: %d octets, %d each; %d: %d, %d each", few, small, small/few, many, large, large/many)
	if each := large / many; each > perService {
		t.Errorf("%d octets for each of %d services, more than %d", each, many, perService)
	}
}

// perService is the bound, in octets: entries of 96 and 128, and two buckets of 16
// for each, at the worst size. With a capacity that is a power of two it is 256.
const perService = 96 + 128 + 4*16

// filled returns how many octets the maps of an Image with n services have.
func filled(t testing.TB, n int) (octets uint64) {
	im := opened(t, cluster(), n)
	defer im.Close()
	var a [4]byte
	for i := range n {
		binary.BigEndian.PutUint32(a[:], uint32(10<<24+i))
		name := labels(fmt.Sprintf("service-%d.namespace-%d", i, i%100))
		check(t, im.Set(name, Name{A: Set{true, a[:]}, AAAA: packed()}))
		check(t, im.SetAddr(netip.AddrFrom4(a), name))
	}
	if im.Names() != n {
		t.Fatalf("%d names, want %d", im.Names(), n)
	}
	if err := im.Set(labels("one.more"), Name{}); err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("more than %d names", n)) {
		t.Errorf("one name more than the capacity: %v", err)
	}
	for name, m := range im.coll.Maps {
		info, err := m.Info()
		check(t, err)
		size, ok := info.Memlock()
		if !ok {
			t.Skipf("the kernel does not say what the map %s takes", name)
		}
		octets += size
	}
	return octets
}

// BenchmarkFill fills an Image with a million services.
func BenchmarkFill(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		b.ReportMetric(float64(filled(b, n))/n, "octets/service")
	}
}
