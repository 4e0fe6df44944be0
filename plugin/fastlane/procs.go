package fastlane

import (
	"runtime"
	"sync"
)

// procs is how many of the Ps that the Go scheduler has (GOMAXPROCS) are there
// for workers.
//
// A worker that waits keeps its P (package mmsg says why). Without one P more
// for each, the goroutines of the chain would have none left on a host with as
// many CPUs as workers. A P costs nothing while nobody has it, but the garbage
// collector reckons with it: a quarter of all Ps are its own while it runs.
var procs struct {
	sync.Mutex
	extra int
}

// addProcs gives the Go scheduler n more Ps, or fewer. From then on it does not
// follow changes of the CPU limit that the process runs under.
func addProcs(n int) {
	procs.Lock()
	defer procs.Unlock()
	procs.extra += n
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
}

// Procs is GOMAXPROCS without the Ps that are there for the workers of lanes:
// how many CPUs Go may use.
func Procs() int {
	procs.Lock()
	defer procs.Unlock()
	return runtime.GOMAXPROCS(0) - procs.extra
}
