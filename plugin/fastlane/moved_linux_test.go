package fastlane

import (
	"net"
	"testing"

	"github.com/coredns/coredns/plugin/pkg/reuseport"
)

// A lane has moved when a socket that stood before its own is gone, whosever it
// was; sockets that come and go behind it are nothing to it.
func TestMoved(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1", ""} {
		s := listenStandIn(t, host, 1)
		other, err := reuseport.ListenPacket("udp", net.JoinHostPort(host, s.port))
		if err != nil {
			t.Fatal(err)
		}
		l, err := Open(Config{Addr: net.JoinHostPort(host, s.port), Others: 1, Workers: 1}, Options{Log: func(err error) { t.Log(err) }}, newFake().program())
		if err != nil {
			t.Fatal(err)
		}
		if l.Moved() {
			t.Errorf("%q: moved at first", host)
		}
		later, err := reuseport.ListenPacket("udp", net.JoinHostPort(host, s.port))
		if err != nil {
			t.Fatal(err)
		}
		if l.Moved() {
			t.Errorf("%q: moved by a socket that came later", host)
		}
		later.Close()
		if l.Moved() {
			t.Errorf("%q: moved by a socket that came later and is gone", host)
		}
		other.Close()
		if !l.Moved() {
			t.Errorf("%q: not moved by a socket that was there first and is gone", host)
		}
		l.Close(t.Context())
	}
}
