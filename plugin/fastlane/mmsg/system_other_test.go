//go:build !linux

package mmsg

import (
	"net"
	"testing"
)

var systems = map[string]func(socket) system{"single": newSingle}

var beforePeerGone []func(*testing.T, *net.UDPConn)
