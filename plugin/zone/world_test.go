package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/miekg/dns"
)

// parseObject reads an object, one line of a world:
//
//	namespace <name>
//	service   <namespace>/<name> <IPs>|none|headless|headless,publish|external=<name> <ports> <outside>
//	slice     <namespace>/<name> <service> <ports> <endpoint>...
//	pod       <namespace>/<name> <addresses>
//	import    <namespace>/<name> <IPs>|none|headless <ports>
//
// IPs, ports and addresses have commas between them; "-" is no ports. A port is
// <name>:<number>/<protocol>, its number "?" if left open. An endpoint is
// <address> or <address>=<hostname>, with "/<zone>" at the end if in a topology
// zone, behind a "!" if not ready. The service of an imported slice is <service>
// or "-" if there is none, then "^<import>@<cluster>". "@<number>" at the end is
// the resourceVersion. Outside is "outside=" and the addresses and host names,
// with commas between them, that it is reached at from outside.
func parseObject(t testing.TB, line string) Object {
	t.Helper()
	f := strings.Fields(line)
	version := uint64(1)
	if last := f[len(f)-1]; last[0] == '@' {
		version, _ = strconv.ParseUint(last[1:], 10, 64)
		f = f[:len(f)-1]
	}
	namespace, name, _ := strings.Cut(f[1], "/")
	k := Key{namespace, name}
	switch f[0] {
	case "namespace":
		return &Namespace{Name: f[1], Version: version}
	case "pod":
		return &Pod{Key: k, Version: version, Addrs: addrList(strings.Split(f[2], ",")...)}
	case "service":
		s := &Service{Key: k, Version: version, Ports: parsePorts(t, f[3:])}
		s.External = parseExternal(f[len(f)-1])
		switch kind := f[2]; {
		case strings.HasPrefix(kind, "headless"):
			s.Kind, s.PublishNotReady = Headless, kind == "headless,publish"
		case strings.HasPrefix(kind, "external="):
			s.Kind, s.ExternalName = ExternalName, kind[len("external="):]
		case kind != "none":
			s.ClusterIPs = addrList(strings.Split(kind, ",")...)
		}
		return s
	case "import":
		s := parseObject(t, "service"+line[len("import"):]).(*Service)
		return &ServiceImport{*s}
	case "slice":
		service, imported, ok := strings.Cut(f[2], "^")
		s := &EndpointSlice{Key: k, Version: version, Service: strings.Trim(service, "-"), Ports: parsePorts(t, f[3:4])}
		if name, cluster, _ := strings.Cut(imported, "@"); ok {
			s.Imported = &Imported{name, cluster}
		}
		var ready, notReady []Endpoint
		for _, e := range f[4:] {
			list := &ready
			if e[0] == '!' {
				e, list = e[1:], &notReady
			}
			e, zone, _ := strings.Cut(e, "/")
			addr, hostname, _ := strings.Cut(e, "=")
			*list = append(*list, Endpoint{netip.MustParseAddr(addr), hostname, zone})
		}
		s.Ready = NewEndpoints(ready)
		if len(notReady) > 0 {
			e := NewEndpoints(notReady)
			s.NotReady = &e
		}
		return s
	}
	t.Fatalf("no object: %s", line)
	return nil
}

func parseExternal(field string) *External {
	list, _ := strings.CutPrefix(field, "outside=")
	if list == field {
		return nil
	}
	var addrs []netip.Addr
	var hosts []string
	for text := range strings.SplitSeq(list, ",") {
		if addr, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, addr)
		} else {
			hosts = append(hosts, text)
		}
	}
	return NewExternal(addrs, hosts)
}

func parsePorts(t testing.TB, fields []string) (ports []Port) {
	t.Helper()
	if len(fields) == 0 || fields[0] == "-" || strings.HasPrefix(fields[0], "outside=") {
		return nil
	}
	for p := range strings.SplitSeq(fields[0], ",") {
		name, rest, _ := strings.Cut(p, ":")
		number, protocol, ok := strings.Cut(rest, "/")
		n := int64(-1)
		if number != "?" {
			var err error
			if n, err = strconv.ParseInt(number, 10, 32); err != nil || !ok {
				t.Fatalf("no port: %s", p)
			}
		}
		ports = append(ports, Port{name, protocol, int32(n)})
	}
	return ports
}

// worldOf returns a Writer that holds the objects of a text, one on each line,
// with every resource synced.
func worldOf(t testing.TB, text string) *Writer {
	t.Helper()
	w := NewWriter()
	replaceAll(t, w, text, Namespaces, Services, EndpointSlices, Pods, ServiceImports)
	return w
}

// replaceAll replaces the given resources with what a text has of them.
func replaceAll(t testing.TB, w *Writer, text string, resources ...Resource) {
	t.Helper()
	var lists [numResources][]Object
	for _, line := range splitLines(text) {
		o := parseObject(t, line)
		lists[o.Resource()] = append(lists[o.Resource()], o)
	}
	w.Update(func(b *Batch) {
		for _, r := range resources {
			b.Replace(r, lists[r], 1)
		}
	})
	if err := check(w); err != nil {
		t.Fatal(err)
	}
}

// set changes w by the objects of a text, in one batch.
func set(t testing.TB, w *Writer, text string) {
	t.Helper()
	w.Update(func(b *Batch) {
		for _, line := range splitLines(text) {
			b.Set(parseObject(t, line))
		}
	})
	if err := check(w); err != nil {
		t.Fatal(err)
	}
}

func drop(w *Writer, r Resource, namespace, name string, version uint64) {
	w.Update(func(b *Batch) { b.Delete(r, Key{namespace, name}, version) })
}

func mustView(t testing.TB, w *Writer, opt Options, local ...string) *View {
	t.Helper()
	if opt.Zones == nil {
		opt.Zones = []string{"cluster.local."}
	}
	if opt.TTL == 0 {
		opt.TTL = 5
	}
	v, err := NewView(w.Index(), opt)
	if err != nil {
		t.Fatal(err)
	}
	v.SetLocalAddrs(addrList(local...))
	return v
}

func wireName(t testing.TB, s string) []byte {
	t.Helper()
	wire, err := dnswire.AppendName(nil, s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return wire
}

// answerText says what v answers to a question, "<name> <type>": NXDOMAIN,
// NODATA, SERVFAIL and the resource that blocks, CHASE and the CNAME targets,
// or the records in presentation format, sorted, those of the additional
// section behind a "+".
func answerText(t testing.TB, v *View, question string) string {
	t.Helper()
	name, typ, _ := strings.Cut(question, " ")
	qtype, ok := dns.StringToType[typ]
	if !ok {
		t.Fatalf("no type: %s", typ)
	}
	wire := wireName(t, name)
	var a Answer
	if !v.Lookup(&a, wire, qtype) {
		return "ELSEWHERE"
	}
	r, err := observe(&a, wire, qtype)
	if err != nil {
		t.Fatalf("%s: %v", question, err)
	}
	switch a.Outcome {
	case Unready:
		return "SERVFAIL " + a.Blocked.String()
	case Chase:
		return "CHASE " + strings.Join(r.chase, " ")
	case Success:
		lines := r.answer
		for _, rr := range r.additional {
			lines = append(lines, "+"+rr)
		}
		return strings.Join(lines, "\n")
	}
	if len(r.authority) != 1 || len(r.answer)+len(r.additional) > 0 {
		t.Errorf("%s: negative reply %+v", question, r)
	}
	if a.Outcome == NoData {
		return "NODATA"
	}
	return "NXDOMAIN"
}

// wantText brings the expected answer to answerText's form: records may be
// written as in a zone file of cluster.local with a TTL of 5.
func wantText(t testing.TB, want string) string {
	t.Helper()
	var answer, additional []string
	for line := range strings.Lines(want) {
		line = strings.TrimSpace(line)
		first, _, _ := strings.Cut(line, " ")
		switch first {
		case "NXDOMAIN", "NODATA", "SERVFAIL", "CHASE", "ELSEWHERE":
			return line
		case "":
			continue
		}
		to := &answer
		if line[0] == '+' {
			line, to = line[1:], &additional
		}
		zp := dns.NewZoneParser(strings.NewReader(line+"\n"), "cluster.local.", "")
		zp.SetDefaultTTL(5)
		rr, ok := zp.Next()
		if !ok {
			t.Fatalf("no record: %s: %v", line, zp.Err())
		}
		*to = append(*to, fmt.Sprint(rr))
	}
	slices.Sort(answer)
	slices.Sort(additional)
	for _, rr := range additional {
		answer = append(answer, "+"+rr)
	}
	return strings.Join(answer, "\n")
}

// qa is a question and its answer, in the forms of answerText and wantText.
type qa struct{ question, want string }

func ask(t *testing.T, v *View, table []qa) {
	t.Helper()
	for _, row := range table {
		if got, want := answerText(t, v, row.question), wantText(t, row.want); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", row.question, got, want)
		}
	}
}

func splitLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
