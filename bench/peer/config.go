package peer

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/clusterdns/clusterdns/bench/results"
	"github.com/clusterdns/clusterdns/bench/veth"
	"github.com/clusterdns/clusterdns/bench/world"
)

// Config says how a peer is started.
type Config struct {
	Name   string // one of package results' names
	Binary string // of the server
	Dir    string // of its own; made if missing
	CPUs   string // the cores that it runs on, as taskset has them
	Cores  int    // how many those are
	IP     string // that it listens on, of loopback or of Pair

	Pair veth.Pair // whose namespaces it and those who ask are in; without one, this program's

	// One of these says where it has the cluster from.
	API      *API     // the API server, as a pod has it: CoreDNS and clusterdns
	Manifest string   // a file of objects: clusterdns
	Zones    []string // files in the order of world.Zones: NSD and Knot

	Lane    string   // clusterdns' option "fastlane"
	Plugins []string // more lines of the server block: CoreDNS and clusterdns
	Env     []string // more environment
}

// API is what a pod finds of the API server.
type API struct {
	Host, Port string
	Token      string
	CA         string // path of the certificates that the API server is verified with
}

// ports that a peer listens on.
type ports struct{ dns, health, ready, metrics int }

// configuration returns the peer's configuration file, if it has one, its content
// and the command that uses it.
func (c Config) configuration(p ports) (file, content string, command []string) {
	switch c.Name {
	case results.NSD:
		file = filepath.Join(c.Dir, "nsd.conf")
		return file, c.nsd(p), []string{c.Binary, "-d", "-c", file}
	case results.Knot:
		file = filepath.Join(c.Dir, "knot.conf")
		return file, c.knot(p), []string{c.Binary, "-c", file}
	case results.Echo:
		return "", "", []string{c.Binary, "-interface", veth.Interface, "-port", strconv.Itoa(p.dns)}
	}
	file = filepath.Join(c.Dir, "Corefile")
	return file, c.corefile(p), []string{c.Binary, "-conf", file}
}

// corefile is kubeadm's, but for: addresses to listen on, health's lameduck,
// which only delays the end, the plugin loop, which would ask upstream, and
// that there is nobody upstream. No question leaves the cluster.
func (c Config) corefile(p ports) string {
	stanza := []string{"pods insecure", "fallthrough in-addr.arpa ip6.arpa", fmt.Sprintf("ttl %d", world.TTL)}
	if c.Manifest != "" {
		stanza = append(stanza, "manifests "+c.Manifest)
	}
	if c.Lane != "" {
		stanza = append(stanza, "fastlane "+c.Lane)
	}
	cache := []string{"cache 30 {", "    disable success cluster.local", "    disable denial cluster.local", "}"}
	if c.Name == results.CoreDNSCache {
		cache = []string{"cache 30"}
	}
	lines := []string{
		"bind " + c.IP,
		"errors",
		fmt.Sprintf("health 127.0.0.1:%d", p.health),
		fmt.Sprintf("ready 127.0.0.1:%d", p.ready),
		"kubernetes cluster.local in-addr.arpa ip6.arpa {",
	}
	for _, option := range stanza {
		lines = append(lines, "    "+option)
	}
	lines = append(lines, "}",
		fmt.Sprintf("prometheus 127.0.0.1:%d", p.metrics),
		"forward . 127.0.0.1:1 {", "    max_concurrent 1000", "}")
	lines = append(lines, cache...)
	lines = append(lines, "reload", "loadbalance")
	lines = append(lines, c.Plugins...)
	return fmt.Sprintf(".:%d {\n    %s\n}\n", p.dns, strings.Join(lines, "\n    "))
}

// nsd has one server process: at everyday rates a second one on a second core
// makes a query no cheaper, also with reuseport. It has no rate limit: Debian
// builds response rate limiting in and limits negative answers to 200 a second
// otherwise.
func (c Config) nsd(p ports) string {
	var b strings.Builder
	fmt.Fprintf(&b, `server:
    ip-address: %s@%d
    server-count: 1
    minimal-responses: yes
`, c.IP, p.dns)
	fmt.Fprintf(&b, `    username: ""
    chroot: ""
    zonesdir: "%[1]s"
    database: ""
    pidfile: "%[1]s/nsd.pid"
    xfrdfile: "%[1]s/xfrd.state"
    zonelistfile: "%[1]s/zone.list"
    xfrdir: "%[1]s"
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
    round-robin: yes
    tcp-count: 1000
    tcp-query-count: 0
    tcp-timeout: 120
remote-control:
    control-enable: no
`, c.Dir)
	for i, z := range world.Zones {
		fmt.Fprintf(&b, "zone:\n    name: %s\n    zonefile: %s\n", strings.TrimSuffix(z, "."), c.Zones[i])
	}
	return b.String()
}

// knot has a worker for each protocol and core, and where there are several each
// answers what was asked on its core. Without its module rrl it has no rate
// limit.
func (c Config) knot(p ports) string {
	var b strings.Builder
	affinity := "off"
	if c.Cores > 1 {
		affinity = "on"
	}
	fmt.Fprintf(&b, `server:
    rundir: "%[2]s"
    listen: %[3]s@%[1]d
    udp-workers: %[4]d
    tcp-workers: %[4]d
    background-workers: 1
    socket-affinity: %[5]s
    tcp-max-clients: 1000
    tcp-idle-timeout: 120
    answer-rotation: on
log:
  - target: stderr
    any: warning
database:
    storage: "%[2]s/db"
template:
  - id: default
    storage: "%[2]s"
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
    semantic-checks: off
zone:
`, p.dns, c.Dir, c.IP, c.Cores, affinity)
	for i, z := range world.Zones {
		fmt.Fprintf(&b, "  - domain: %s\n    file: %s\n", strings.TrimSuffix(z, "."), c.Zones[i])
	}
	return b.String()
}
