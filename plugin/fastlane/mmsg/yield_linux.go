package mmsg

import _ "unsafe" // for go:linkname

// goyield lets the goroutines that wait for this P have their turn. Unlike
// runtime.Gosched it wakes no thread that would look for work, find the caller,
// and take it to another CPU. It is one of the functions that the runtime
// keeps for others (go.dev/issue/67401).
//
//go:linkname goyield runtime.goyield
func goyield()
