//go:build !linux

package mmsg

import "testing"

var systems = map[string]makeSystem{"single": newSingle}

var beforePeerGone []func(*testing.T, *Conn)
