package world

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/clusterdns/clusterdns/bench/question"
)

var small = Spec{Name: "small", Services: 100, Endpoints: 15, BigSize: 250}

// TestDeterministic makes a world twice, and compares a few of its services
// with what the rules say.
func TestDeterministic(t *testing.T) {
	a, b := New(small), New(small)
	if x, y := fmt.Sprintf("%+v", a.All()), fmt.Sprintf("%+v", b.All()); x != y {
		t.Error("two worlds of one specification differ")
	}
	for _, mix := range mixes {
		x, y := a.Questions(mix), b.Questions(mix)
		if fmt.Sprint(x) != fmt.Sprint(y) || len(x) == 0 {
			t.Errorf("%s: %d and %d questions, or in another order", mix, len(x), len(y))
		}
	}
	if n := len(a.of(Headless)); n != 10 {
		t.Errorf("%d headless services, want 10", n)
	}
	for name, want := range map[string]string{
		"svc-1":  "ns1 10.96.1.1 first 10.128.0.15 ",
		"svc-10": "ns10 invalid IP first 10.128.0.150 ",
		"svc-20": "ns0 invalid IP first 10.128.1.44 svc-20-0",
		"big":    "ns0 invalid IP first 10.128.5.220 big-0",
	} {
		i := slices.IndexFunc(a.All(), func(s Service) bool { return s.Name == name })
		s := a.All()[i]
		got := fmt.Sprintf("%s %s first %s %s", s.Namespace, s.ClusterIP, s.Endpoints[0].Addr, s.Endpoints[0].Hostname)
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// records is a set of zones as a static server has it.
type records map[string][]dns.RR // by name

func parseZones(t *testing.T, w *World) records {
	t.Helper()
	files, err := w.WriteZones(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	all := records{}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		zp := dns.NewZoneParser(f, "", file)
		for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
			all[rr.Header().Name] = append(all[rr.Header().Name], rr)
		}
		if err := zp.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// answer is what a static server answers, RFC 1034 section 4.3.2 without
// wildcards.
func (all records) answer(q question.Question) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(q.Name, q.Type)
	name := q.Name
	for range 3 {
		exists := false
		for owner := range all {
			exists = exists || owner == name || strings.HasSuffix(owner, "."+name)
		}
		if !exists {
			m.Rcode = dns.RcodeNameError
		}
		for _, rr := range all[name] {
			if c, ok := rr.(*dns.CNAME); ok {
				m.Answer = append(m.Answer, rr)
				name = c.Target
				break
			}
			if rr.Header().Rrtype == q.Type {
				m.Answer = append(m.Answer, rr)
			}
		}
		if len(m.Answer) > 0 && m.Answer[len(m.Answer)-1].Header().Rrtype == q.Type {
			break
		}
	}
	return m
}

// TestZonesAnswerQuestions resolves the questions of every mix in the zones.
func TestZonesAnswerQuestions(t *testing.T) {
	w := New(Spec{Name: "tiny", Services: 40, Endpoints: 3, BigSize: 5})
	all := parseZones(t, w)
	for _, mix := range mixes {
		qs := w.Questions(mix)
		for _, q := range qs[:min(len(qs), 200)] {
			if err := q.Check(all.answer(q)); err != nil {
				t.Errorf("%s: %s: %v", mix, q.Name, err)
			}
		}
	}
	for name, want := range map[string]int{"cluster.local.": 2, "10.in-addr.arpa.": 2} {
		if got := len(all[name]); got != want {
			t.Errorf("%s has %d records, want SOA and NS", name, got)
		}
	}
	// Three endpoints of svc-10, by address and without hostnames.
	for _, name := range []string{"10-128-0-30.svc-10.ns10.svc.cluster.local.", "30.0.128.10.in-addr.arpa."} {
		if len(all[name]) != 1 {
			t.Errorf("%s: %v", name, all[name])
		}
	}
	if got := all["_http._tcp.svc-10.ns10.svc.cluster.local."]; len(got) != 3 || got[0].(*dns.SRV).Weight != 33 || got[0].(*dns.SRV).Port != targetPort {
		t.Errorf("SRV of a headless service: %v", got)
	}
}

// TestObjectsAgreeWithZones compares the addresses in the objects with those in
// the zones, by the rules of the Kubernetes DNS specification.
func TestObjectsAgreeWithZones(t *testing.T) {
	w := New(small)
	all := parseZones(t, w)
	addrs := func(name string) (found []string) {
		for _, rr := range all[name] {
			if a, ok := rr.(*dns.A); ok {
				found = append(found, a.A.String())
			}
		}
		slices.Sort(found)
		return found
	}
	for _, s := range w.All() {
		o := s.Object()
		name := o.Name + "." + o.Namespace + ".svc.cluster.local."
		var ends []string
		for _, slice := range s.Slices(false) {
			if slice.Namespace != o.Namespace || slice.Labels["kubernetes.io/service-name"] != o.Name || len(slice.Endpoints) > SliceSize {
				t.Errorf("%s: slice %s/%s with %d endpoints, labels %v", name, slice.Namespace, slice.Name, len(slice.Endpoints), slice.Labels)
			}
			for _, e := range slice.Endpoints {
				label := strings.ReplaceAll(e.Addresses[0], ".", "-")
				if e.Hostname != nil {
					label = *e.Hostname
				}
				if got := addrs(label + "." + name); !slices.Equal(got, e.Addresses) {
					t.Errorf("%s.%s: %v, want %v", label, name, got, e.Addresses)
				}
				ends = append(ends, e.Addresses[0])
			}
		}
		slices.Sort(ends)
		var want []string
		switch o.Spec.ClusterIP {
		case "None":
			want = ends
		case "":
			if got := all[name]; len(got) != 1 || got[0].(*dns.CNAME).Target != o.Spec.ExternalName+"." {
				t.Errorf("%s: %v, want CNAME %s", name, got, o.Spec.ExternalName)
			}
			continue
		default:
			want = []string{o.Spec.ClusterIP}
		}
		if got := addrs(name); !slices.Equal(got, want) {
			t.Errorf("%s: %v in the zone, %v in the objects", name, got, want)
		}
	}
}

func TestWriteQuestions(t *testing.T) {
	w := New(small)
	dir := t.TempDir()
	checked, plain, err := w.WriteQuestions(dir, "srv")
	if err != nil {
		t.Fatal(err)
	}
	qs, err := question.Read(checked)
	if err != nil {
		t.Fatal(err)
	}
	if len(qs) != 90 || fmt.Sprint(qs) != fmt.Sprint(w.Questions("srv")) {
		t.Errorf("%d questions come back", len(qs))
	}
	text, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "_http._tcp.svc-1.ns1.svc.cluster.local. SRV\n") {
		t.Errorf("dnsperf's file is %.200s", text)
	}
	if _, _, err := w.WriteQuestions(dir, "none"); err == nil {
		t.Error("no error for a mix that does not exist")
	}
	if _, _, err := w.WriteQuestions(filepath.Join(dir, "none"), "srv"); err == nil {
		t.Error("no error for a folder that does not exist")
	}
}

// TestManifest reads a manifest as JSON documents and counts.
func TestManifest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "world.json")
	if err := New(small).WriteManifest(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]int{"Namespace": 20, "Service": 100 + 5 + 1, "EndpointSlice": 100 + 3} {
		if got := strings.Count(string(text), fmt.Sprintf(`"kind":"%s"`, kind)); got != want {
			t.Errorf("%d of kind %s, want %d", got, kind, want)
		}
	}
}
