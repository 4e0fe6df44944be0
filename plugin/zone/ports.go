package zone

import (
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// slicePorts has of every slice of a service the numbers of the ports that an
// answer picks. They are looked for when the first endpoint of the slice comes
// by, and not again for the others: a slice may have many of both.
type slicePorts struct {
	walk    uint64 // counts walks; what an earlier one found is void
	bySlice []portNumbers
	all     []int32
	last    portNumbers // the latest that were found
	seen    portSet
}

// portNumbers are some of slicePorts.all. Slices whose numbers are the same, as
// they mostly are, have equal portNumbers, if they were found one after the other.
type portNumbers struct {
	walk     uint64
	from, to int
}

// begin begins a walk over the endpoints of a service with n slices.
func (p *slicePorts) begin(n int) {
	p.walk++
	p.bySlice = slices.Grow(p.bySlice[:0], n)[:n]
	p.all, p.last = p.all[:0], portNumbers{}
}

// of returns the numbers of the picked ports of the slice, each once.
func (p *slicePorts) of(slice uint32, ports []Port, sel *selector) portNumbers {
	found := &p.bySlice[slice]
	if found.walk == p.walk {
		return *found
	}
	*found = portNumbers{p.walk, len(p.all), len(p.all)}
	p.seen.reset()
	for i := range ports {
		if port := &ports[i]; port.Number >= 0 && sel.matches(port) && p.seen.add(port.Number) {
			p.all = append(p.all, port.Number)
		}
	}
	found.to = len(p.all)
	if p.last.walk == p.walk && slices.Equal(p.all[found.from:], p.all[p.last.from:p.last.to]) {
		p.all = p.all[:found.from]
		*found = p.last
	}
	p.last = *found
	return *found
}

// in returns the numbers.
func (n portNumbers) in(p *slicePorts) []int32 { return p.all[n.from:n.to] }

// anyNumber reports whether a selected port has a number.
func (a *Answer) anyNumber(ports []Port) bool {
	for i := range ports {
		if ports[i].Number >= 0 && a.sel.matches(&ports[i]) {
			return true
		}
	}
	return false
}

// portsByName has ports by their names and protocols, folded: a zone transfer asks
// for each in turn, and would look at all of them each time.
type portsByName map[*Port]map[[2]string][]Port

// portsOf returns those of ports that the selector may pick.
func (a *Answer) portsOf(ports []Port) []Port {
	if a.byName == nil || a.sel.by != byPort || len(ports) == 0 || len(a.sel.first) == 0 || len(a.sel.second) == 0 {
		return ports
	}
	groups := a.byName[&ports[0]]
	if groups == nil {
		groups = map[[2]string][]Port{}
		for _, p := range ports {
			key := [2]string{folded(p.Name), folded(p.Protocol)}
			groups[key] = append(groups[key], p)
		}
		a.byName[&ports[0]] = groups
	}
	return groups[[2]string{folded(a.sel.first), folded(a.sel.second)}]
}

func folded[B string | []byte](text B) string { return string(dnswire.AppendLower(nil, []byte(text))) }

// portSet is a set of port numbers. Its cost is that of the numbers added.
type portSet struct {
	bits  []uint64 // 65,536 of them, from the first number on
	added []uint16 // up to maxAdded of those set
}

// maxAdded is up to how many numbers it is cheaper to take each out again than
// to clear all bits.
const maxAdded = 256

// add adds a number and reports whether it was not there.
func (p *portSet) add(number int32) bool {
	n := uint16(number)
	if p.bits == nil {
		p.bits = make([]uint64, 1<<16/64)
	}
	if p.bits[n/64]>>(n%64)&1 != 0 {
		return false
	}
	p.bits[n/64] |= 1 << (n % 64)
	if len(p.added) < maxAdded {
		p.added = append(p.added, n)
	}
	return true
}

func (p *portSet) reset() {
	if len(p.added) == maxAdded {
		clear(p.bits)
	}
	for _, n := range p.added {
		p.bits[n/64] = 0
	}
	p.added = p.added[:0]
}
