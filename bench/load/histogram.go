package load

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are linear within a power of two:
// 128 of them, so that a value read from it is at most 1/256 off.
type histogram struct {
	counts   [(64 - subBits) << subBits]uint64
	n        uint64
	sum      time.Duration
	min, max time.Duration
}

const subBits = 7

func (h *histogram) record(d time.Duration) {
	d = max(d, 0)
	if h.n == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.n++
	h.sum += d
	h.counts[bucket(d)]++
}

// bucket returns the index of d's bucket: values below 128 ns have one each;
// above, shift low bits do not matter.
func bucket(d time.Duration) int {
	shift := max(bits.Len64(uint64(d))-subBits-1, 0)
	return shift<<subBits + int(d>>shift)
}

// middle returns the middle of the durations that bucket i counts.
func middle(i int) time.Duration {
	shift := max(i>>subBits-1, 0)
	low := time.Duration(i-shift<<subBits) << shift
	return low + (time.Duration(1)<<shift-1)/2
}

// quantile returns the duration that the part q of all does not exceed; 0 where
// there are none.
func (h *histogram) quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.n))
	if float64(rank) < q*float64(h.n) || rank == 0 {
		rank++ // the nearest-rank method rounds up
	}
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return min(max(middle(i), h.min), h.max)
		}
	}
	return h.max
}

func (h *histogram) mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return h.sum / time.Duration(h.n)
}
