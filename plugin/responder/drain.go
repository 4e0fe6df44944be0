package responder

import "github.com/clusterdns/clusterdns/plugin/fastlane/kernel"

// drain counts an image's answers as the plugin prometheus counts the chain's, in
// the counters that a tally counts in. The image has numbers since it was opened.
type drain struct {
	meters []*meter
	counts *Counts
	cells  map[kernel.Cell]*drained // by the cell without its number
	passed map[string]uint64
}

// drained is a cell's counters, and what they have been told.
type drained struct {
	counters
	counted bool // the zone's queries are
	n       uint64
}

func newDrain(meters []*meter, counts *Counts) *drain {
	return &drain{meters: meters, counts: counts, cells: map[kernel.Cell]*drained{}, passed: map[string]uint64{}}
}

// drain counts what came since it was called last.
func (d *drain) drain(im image) {
	im.Counts(func(c kernel.Cell) {
		n := c.N
		c.N = 0
		cell := d.cells[c]
		if cell == nil {
			cell = new(drained)
			if m := d.meters[c.Meter]; m != nil {
				cell.counters = newCounters(cellKey{meter: m, ipv6: c.IPv6, do: c.DO, qtype: c.Type, rcode: c.Rcode})
				cell.counted = true
			}
			d.cells[c] = cell
		}
		if n > cell.n {
			if cell.counted {
				cell.add(float64(n - cell.n))
			}
			d.counts.inKernel.Add(n - cell.n)
			cell.n = n
		}
	}, func(reason string, n uint64) {
		if before := d.passed[reason]; n > before {
			d.counts.Pass(reason, n-before)
			d.passed[reason] = n
		}
	})
}
