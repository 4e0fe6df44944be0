//go:build race

package mmsg

// raceEnabled says that the race detector is on, which makes allocations of
// its own.
const raceEnabled = true
