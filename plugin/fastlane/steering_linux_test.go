package fastlane

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
)

// queueOf returns the queue that what comes from addr is steered to.
func queueOf(t *testing.T, addr netip.Addr, keys [8]uint32) int {
	t.Helper()
	vm, err := bpf.NewVM(append(hashSource(0, logQueues, &keys), bpf.RetA{}))
	if err != nil {
		t.Fatal(err)
	}
	header := make([]byte, 40)
	header[0] = 0x60
	at := 8
	if addr.Is4() {
		header[0], at = 0x45, 12
	}
	copy(header[at:], addr.AsSlice())
	queue, err := vm.Run(header)
	if err != nil {
		t.Fatal(err)
	}
	return queue
}

func randomKeys(rng *rand.Rand) (keys [8]uint32) {
	for i := range keys {
		keys[i] = rng.Uint32()
	}
	return keys
}

// Clients of one network are in all queues, about as many in each.
func TestSendersSpread(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, network := range []string{"10.1.0.0", "192.168.7.0", "fd00:1:2:3::", "2001:db8::ff:fe00:0", "fe80::1:0:0:0"} {
		for range 4 {
			keys := randomKeys(rng)
			var got [queues]int
			const clients = 2048
			addr := netip.MustParseAddr(network)
			for range clients {
				got[queueOf(t, addr, keys)]++
				addr = addr.Next()
			}
			for q, n := range got {
				if n < clients/queues/4 || n > clients/queues*3 {
					t.Errorf("%d of %d clients from %s on are in queue %d: %v", n, clients, network, q, got)
				}
			}
		}
	}
}

// Nobody who has several addresses, or chooses a part of his own, knows how the
// queues of two of them are related: they are the same in one of eight cases,
// whatever the two differ in.
func TestSendersCannotAim(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, pair := range [][2]string{
		{"10.1.2.3", "10.1.2.4"}, {"10.1.2.3", "10.1.130.3"}, {"10.1.2.3", "138.1.2.3"}, {"10.1.2.3", "11.1.3.3"},
		{"fd00::1", "fd00::2"}, {"fd00::1", "fd00::8000:0:0:1"}, {"fd00::1", "fd00::8000:1"}, {"fd00::1", "8d00::1"},
		{"fd00::1:2:3:4", "fd00::3:4:1:2"}, // words of 32 bits, in another order
		{"fd00::", "fd00::1:1:1:1"},        // whose exclusive or is the same
		{"fd00::", "fd00::8000:0:8000:0"},  // as are those of the highest bits
		{"fd00::", "fd00::8000:8000:8000:8000"}, {"fd00::", "fd00:0:0:1:0:0:0:1"},
	} {
		same := 0
		const times = 2000
		for range times {
			keys := randomKeys(rng)
			if queueOf(t, netip.MustParseAddr(pair[0]), keys) == queueOf(t, netip.MustParseAddr(pair[1]), keys) {
				same++
			}
		}
		if same < times/queues/2 || same > times/queues*3/2 {
			t.Errorf("%s and %s share a queue %d times of %d", pair[0], pair[1], same, times)
		}
	}
}
