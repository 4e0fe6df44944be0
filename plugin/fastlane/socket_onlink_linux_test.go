package fastlane

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// inNetns runs f in a network namespace of its own, in which the command ip has
// made an interface v0 with the address 10.99.0.1/24 whose other end, v1,
// answers nothing.
func inNetns(t *testing.T, f func(v0, v1 *net.Interface)) {
	if os.Getuid() != 0 {
		t.Skip("network namespaces are for root")
	}
	missing := make(chan error, 1)
	go func() {
		defer close(missing)
		runtime.LockOSThread() // and the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			missing <- fmt.Errorf("network namespace: %w", err)
			return
		}
		for _, args := range [][]string{
			{"link", "set", "lo", "up"},
			{"link", "add", "v0", "type", "veth", "peer", "name", "v1"},
			{"addr", "add", "10.99.0.1/24", "dev", "v0"},
			{"link", "set", "v0", "up"},
			{"link", "set", "v1", "arp", "off", "up"},
		} {
			if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
				missing <- fmt.Errorf("ip %v: %w: %s", args, err, out)
				return
			}
		}
		v0, err := net.InterfaceByName("v0")
		if err != nil {
			t.Error(err)
			return
		}
		v1, err := net.InterfaceByName("v1")
		if err != nil {
			t.Error(err)
			return
		}
		f(v0, v1)
	}()
	if err := <-missing; err != nil {
		t.Skip(err)
	}
}

// TestUnresolvable has neighbours ask that do not answer ARP: what is for them
// fills a socket's send buffer, and nobody else goes without an answer.
func TestUnresolvable(t *testing.T) {
	inNetns(t, func(v0, v1 *net.Interface) {
		s := newCoreDNS(t, "0.0.0.0")
		f := newFake()
		l := s.lane(t, f, func(c *Config, _ *Options) { c.Workers = 1 })
		good := s.client(t, "udp", "127.0.0.1")
		good.want(t, "lane", "lane")

		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Protocol: 0x0008, Ifindex: v1.Index, Halen: 6}
		copy(to.Addr[:], v0.HardwareAddr)
		// One neighbour holds 212,992 octets (unres_qlen_bytes), so that these
		// hold more than one socket has, and less than all.
		const neighbours, each = 12, 350
		word := []string{"lane", "chain"}
		port, _ := net.LookupPort("udp", s.port)
		for i := range each {
			for n := range neighbours {
				packet := udpPacket(net.IPv4(10, 99, 0, byte(100+n)), net.IPv4(10, 99, 0, 1), 5353, port, query(1, word[i%2]))
				if err := unix.Sendto(fd, packet, 0, to); err != nil {
					t.Error(err)
					return
				}
			}
			if i%10 == 0 {
				if got, err := good.ask("lane", "chain"); err != nil || got[0] != "lane" || got[1] != "chain" {
					t.Errorf("after %d queries of each neighbour: %v, %v", i+1, got, err)
					return
				}
			}
		}
		stats := l.Stats()
		if stats.Datagrams < neighbours*each*9/10 || stats.Unsent != 0 {
			t.Errorf("%+v", stats)
		}
		good.want(t, "lane", numbered(100, "lane")...)
		good.want(t, "chain", numbered(100, "chain")...)
	})
}

// udpPacket returns a datagram with its headers of IPv4 and UDP.
func udpPacket(from, to net.IP, fromPort, toPort int, payload []byte) []byte {
	p := make([]byte, 28, 28+len(payload))
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(28+len(payload)))
	copy(p[12:], from.To4())
	copy(p[16:], to.To4())
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(p[20:], uint16(fromPort))
	binary.BigEndian.PutUint16(p[22:], uint16(toPort))
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(payload)))
	return append(p, payload...)
}
