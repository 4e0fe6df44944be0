package lanes

import "github.com/clusterdns/clusterdns/plugin/fastlane"

// phase is how far the lane at an address is.
type phase int

const (
	shut phase = iota
	open
	closing // until its sockets are empty
)

// have is what there is at an address.
type have struct {
	phase   phase
	program *fastlane.Program // that an open lane works for
	config  fastlane.Config   // that an open lane was opened with
}

// want is what there is to be.
type want struct {
	// program is that of the instance whose server is there; nil: there is none.
	program *fastlane.Program
	config  *fastlane.Config // nil: no lane
	// settled: CoreDNS neither opens nor closes sockets now, so that their
	// number, and with it the kernel's numbering, is known.
	settled bool
	tooSoon bool // after a lane failed
	moved   bool // the lane's sockets are no longer where the kernel was told
}

// action is what to do at an address.
type action int

const (
	rest     action = iota // until the next event
	swap                   // have the lane work for another program
	shutDown               // begin to close the lane
	openUp                 // open a lane
)

// next returns what to do where there is h and is to be w. The whole life of the
// lanes is this function, called after every event until it says rest.
func next(h have, w want) action {
	switch {
	case h.phase == closing:
		return rest
	case h.phase == open && w.program == nil:
		return shutDown
	case h.phase == open && h.program != w.program:
		return swap // at once, settled or not: the program before may end
	case !w.settled:
		return rest
	case h.phase == open && (w.moved || w.config == nil || h.config != *w.config):
		return shutDown
	case h.phase == shut && w.program != nil && w.config != nil && !w.tooSoon:
		return openUp
	}
	return rest
}
