package mmsg

import "net/netip"

// Batch is memory for a number of datagrams and as many replies. It belongs to
// one goroutine. Its use is a round of [Conn.Recv], Reply for those it has an
// answer to, and [Conn.Flush]; no round allocates on Linux.
type Batch struct {
	n        int // datagrams of the last Recv
	recvSize int
	slots    []byte // recvSize+1 octets for each datagram
	got      []datagram
	replies  []reply
	sys      batchMemory
}

// datagram is what Recv learned of one datagram besides its payload.
type datagram struct {
	len       int
	truncated bool
	// peer and local are without an IPv4-mapped form, and without a zone if
	// the interface is in peerIndex or localIndex.
	peer  netip.AddrPort
	local netip.Addr
	// The interfaces of link-local addresses, 0 for others.
	peerIndex, localIndex int
}

type reply struct {
	to      int // index of the datagram
	payload []byte
}

// NewBatch returns a Batch for n datagrams of up to recvSize octets. n is at
// least 1; Linux takes at most 1024 (UIO_MAXIOV) at once.
func NewBatch(n, recvSize int) *Batch {
	b := &Batch{
		recvSize: recvSize,
		slots:    make([]byte, n*(recvSize+1)),
		got:      make([]datagram, n),
		replies:  make([]reply, 0, n),
	}
	b.sys.init(b)
	return b
}

// slot returns the memory for datagram i. The octet more than recvSize tells a
// truncated datagram from one that just fits where the system does not.
func (b *Batch) slot(i int) []byte {
	size := b.recvSize + 1
	return b.slots[i*size : (i+1)*size : (i+1)*size]
}

// Payload returns datagram i, 0 ≤ i < n of the last Recv, which is valid and
// the caller's to change until the next Recv.
func (b *Batch) Payload(i int) []byte { return b.slot(i)[:b.got[:b.n][i].len:b.recvSize] }

// Truncated says that datagram i was longer than recvSize, and its end is lost.
func (b *Batch) Truncated(i int) bool { return b.got[:b.n][i].truncated }

// Peer returns who sent datagram i: never an IPv4-mapped address, and a
// link-local one with its zone.
func (b *Batch) Peer(i int) netip.AddrPort {
	d := &b.got[:b.n][i]
	if d.peerIndex != 0 {
		return netip.AddrPortFrom(d.peer.Addr().WithZone(zones.name(d.peerIndex)), d.peer.Port())
	}
	return d.peer
}

// Local returns the address that datagram i was sent to, in the form of Peer.
// If that was a broadcast address of IPv4, Linux gives the one that a reply
// leaves from. It is the zero Addr if the socket is bound to one address.
func (b *Batch) Local(i int) netip.Addr {
	d := &b.got[:b.n][i]
	if d.localIndex != 0 {
		return d.local.WithZone(zones.name(d.localIndex))
	}
	return d.local
}

// Reply queues payload for the peer of datagram i, from the address that was
// asked, by whatever interface the route says. payload is sent by the next
// Flush and must not change before. There is room for as many replies as the
// batch has datagrams; Reply panics when there is none left.
func (b *Batch) Reply(i int, payload []byte) {
	_ = b.got[:b.n][i]
	q := len(b.replies)
	b.replies = b.replies[:q+1]
	b.replies[q] = reply{to: i, payload: payload}
}

// Queued says how many replies wait for Flush.
func (b *Batch) Queued() int { return len(b.replies) }
