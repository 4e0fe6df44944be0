package kernel

// Name is what is known of a name. The zero value is one that exists, and of which
// everything goes up.
type Name struct{ A, AAAA Set }

// Set is what is known of a name's addresses of one family.
type Set struct {
	// Known says that Packed is all there are, in the order of the answer. None:
	// the name has no records of the type.
	Known bool
	// Packed are addresses of 4 or 16 octets each. More than MaxA or MaxAAAA are
	// not kept, as if they were not Known. They are read during the call only.
	Packed []byte
}

// How many addresses of each family a Set can have: as many as a reply of 1,232
// octets has room for, and an entry of 432 octets.
const (
	MaxA    = 64
	MaxAAAA = 27
)

// MaxPTR is how many octets a name has at most that is kept for PTR questions.
const MaxPTR = 52

// Cell counts queries that were answered alike.
type Cell struct {
	Meter    uint8 // Zone.Meter
	IPv6, DO bool  // how the query came; whether it had the DO bit
	Type     uint16
	Rcode    uint8
	N        uint64 // since Open
}
