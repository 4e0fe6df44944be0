//go:build linux && (amd64 || arm64)

package kernel

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMissing checks that an error says what is missing, and that no retry helps.
func TestMissing(t *testing.T) {
	c := Config{Port: 53, Zones: cluster(), Capacity: 10}
	for _, tc := range []struct {
		name string
		edit func(*Config)
		want string
		is   error
	}{
		{"interface", func(c *Config) { c.Interfaces = []string{"no-such-0"} }, "no interface no-such-0", nil},
		{"no Ethernet", func(c *Config) { c.Interfaces = []string{"lo"} }, "interface lo is no Ethernet", errors.ErrUnsupported},
		{"address", func(c *Config) { c.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.1")} }, "no Ethernet interface has a listening address", nil},
		{"port", func(c *Config) { c.Port = 0 }, "no port", nil},
		{"capacity", func(c *Config) { c.Capacity = 0 }, "capacity of 0 names", nil},
		{"zones", func(c *Config) { c.Zones = make([]Zone, 17) }, "", ErrTooManyZones},
		{"long zone", func(c *Config) {
			c.Zones = []Zone{{Wire: wire(strings.Repeat("a", 62) + ".")}, {Wire: wire(strings.Repeat("a", 63) + ".")}}
		}, "zone " + strings.Repeat("a", 63) + ".: ", ErrZoneTooLong},
		{"order", func(c *Config) { c.Zones = []Zone{{Wire: wire("b.")}, {Wire: wire("bb.")}} }, "zone bb.: behind a shorter one", nil},
		{"letters", func(c *Config) { c.Zones[0].Wire = wire("A.") }, "zone A.: not in wire format and lower case", nil},
		{"no root", func(c *Config) { c.Zones[0].Wire = []byte("\x01a") }, "not in wire format", nil},
		{"forward root", func(c *Config) { c.Zones = []Zone{{Wire: wire("."), Kind: Forward}} }, "zone .: ", ErrZoneKind},
		{"forward arpa", func(c *Config) { c.Zones = []Zone{{Wire: wire("arpa."), Kind: Forward}} }, "zone arpa.: ", ErrZoneKind},
		{"forward in-addr.arpa", func(c *Config) { c.Zones = []Zone{{Wire: wire("10.in-addr.arpa."), Kind: Forward}} }, "", ErrZoneKind},
		{"reverse cluster", func(c *Config) { c.Zones = []Zone{{Wire: wire("cluster.local."), Kind: Reverse}} }, "", ErrZoneKind},
		{"meter", func(c *Config) { c.Zones[0].Meter = 16 }, "meter 16", nil},
		{"types", func(c *Config) {
			for i := range 16 {
				c.Zones[2].Types[i] = true
			}
		}, "", ErrTooManyTypes},
	} {
		c := c
		c.Zones = cluster()
		tc.edit(&c)
		err := c.check()
		if err == nil {
			_, _, err = c.resolve()
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) {
			t.Errorf("%s: %v, want %s, %v", tc.name, err, tc.want, tc.is)
		}
	}

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var all, some [2]unix.CapUserData
	check(t, unix.Capget(&header, &all[0]))
	some = all
	for _, bit := range []uint{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN} {
		some[bit/32].Effective &^= 1 << (bit % 32)
	}
	check(t, unix.Capset(&header, &some[0]))
	_, err := Open(c)
	check(t, unix.Capset(&header, &all[0]))
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "CAP_BPF") || !strings.Contains(err.Error(), "CAP_PERFMON") {
		t.Errorf("without CAP_BPF and CAP_PERFMON: %v", err)
	}
}

// TestVerifier checks what the program takes of the verifier, which stops at a million
// instructions, whatever the configuration.
func TestVerifier(t *testing.T) {
	im := opened(t, cluster(), 1)
	info, err := im.coll.Programs["lane"].Info()
	check(t, err)
	n, ok := info.VerifiedInstructions()
	size, _ := info.TranslatedSize()
	t.Logf("the verifier looked at %d instructions; the program has %d", n, size/8)
	if ok && n > 250_000 {
		t.Errorf("the verifier looked at %d instructions", n)
	}
}
