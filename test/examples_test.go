package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// outsideWorld is what the resolvers know that Corefiles of corefile-examples
// forward to, by their address there.
var outsideWorld = map[string]string{
	"/etc/resolv.conf": "www.example.com. 60 A 198.51.100.10\nprinter.example.com. 60 A 198.51.100.1\napi.example.com. 60 A 198.51.100.2\nshop.example.org. 60 A 203.0.113.80",
	"10.150.0.1":       "db.corp.example. 60 A 203.0.113.1\n9.8.30.172.in-addr.arpa. 60 PTR db.corp.example.",
	"10.150.0.3:8600":  "vault.consul.cluster.local. 5 A 203.0.113.3",
	"tls://9.9.9.9":    "private.example. 60 A 203.0.113.9",
}

// TestExampleAnswers runs each Corefile of corefile-examples that has a file
// answers beside it, and asks what that says. Ports and addresses of the outside
// are the test's; the objects are testdata/examples.yaml's, unless the Corefile
// has manifests of its own. TestWild in test/controlplane/e2e does so for
// Corefiles of distributions.
func TestExampleAnswers(t *testing.T) {
	t.Chdir("..")
	files, err := filepath.Glob("corefile-examples/*/answers")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d examples with answers, %v", len(files), err)
	}
	for _, file := range files {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(dir, "Corefile"))
			if err != nil {
				t.Fatal(err)
			}
			corefile := string(text)
			if !strings.HasPrefix(corefile, "# ") || !whenToUse.MatchString(corefile) {
				t.Error("it does not begin with a comment that says when to use it")
			}
			s := start(t, anywhere(withObjects(elsewhere(t, corefile))))
			asked := 0
			lines, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(lines)) {
				line, _, _ = strings.Cut(line, ";")
				if fields := strings.Fields(line); len(fields) >= 3 {
					s.answers(t, fields)
					asked++
				}
			}
			if asked < 2 {
				t.Errorf("%d questions", asked)
			}
		})
	}
}

var whenToUse = regexp.MustCompile(`[Uu]se\s+(# )?it\s`)

// answers asks one line of a file of answers: name, type, rcode, and the data of
// one record, if any.
func (s *server) answers(t *testing.T, line []string) {
	t.Helper()
	m, _, err := s.exchange("udp", new(dns.Msg).SetQuestion(line[0], dns.StringToType[line[1]]))
	if err != nil {
		t.Fatalf("%v: %v", line, err)
	}
	got := []string{line[0], line[1], dns.RcodeToString[m.Rcode]}
	for _, rr := range m.Answer {
		if dns.TypeToString[rr.Header().Rrtype] == line[1] {
			got = append(got, strings.Fields(rr.String())[4:]...)
		}
	}
	if !slices.Equal(got, line) {
		t.Errorf("%v, want %v", got, line)
	}
}

var forwardTo = regexp.MustCompile(`(?m)^(\s+forward \. )([^{\n]*[^{\s])`)

// elsewhere has a Corefile forward to resolvers of this test.
func elsewhere(t *testing.T, corefile string) string {
	t.Helper()
	trust := ""
	corefile = forwardTo.ReplaceAllStringFunc(corefile, func(line string) string {
		m := forwardTo.FindStringSubmatch(line)
		first, _, _ := strings.Cut(m[2], " ") // the others are not asked while it answers
		zone, ok := outsideWorld[first]
		if !ok {
			t.Fatalf("nobody is at %s", first)
		}
		scheme := ""
		if strings.HasPrefix(first, "tls://") {
			scheme = "tls://"
		}
		at, ca := resolver(t, zone, scheme != "")
		if ca != "" {
			trust = "tls " + ca + "\n        "
		}
		return m[1] + scheme + at
	})
	return strings.ReplaceAll(corefile, " tls_servername ", " "+trust+"tls_servername ")
}

// resolver starts a server of a zone file and returns its address. One that
// speaks TLS has a certificate for dns.quad9.net, and ca is the file to trust.
func resolver(t *testing.T, zone string, encrypted bool) (addr, ca string) {
	t.Helper()
	var records []dns.RR
	parser := dns.NewZoneParser(strings.NewReader(zone), ".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		records = append(records, rr)
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg).SetRcode(r, dns.RcodeNameError)
		for _, rr := range records {
			if rr.Header().Name == r.Question[0].Name && rr.Header().Rrtype == r.Question[0].Qtype {
				m.Rcode, m.Answer = dns.RcodeSuccess, append(m.Answer, rr)
			}
		}
		if err := w.WriteMsg(m); err != nil {
			t.Error(err)
		}
	})
	run := func(server *dns.Server) {
		done := make(chan error, 1)
		up := make(chan struct{})
		server.NotifyStartedFunc = func() { close(up) }
		go func() { done <- server.ActivateAndServe() }()
		<-up
		t.Cleanup(func() {
			if err := server.Shutdown(); err != nil {
				t.Error(err)
			}
			<-done
		})
	}
	if !encrypted {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		run(&dns.Server{PacketConn: udp, Handler: handler})
		return udp.LocalAddr().String(), ""
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	self := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"dns.quad9.net"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, self, self, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	run(&dns.Server{Listener: l, Handler: handler})
	ca = filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), ca
}

var ourStanza = regexp.MustCompile(`(?m)^(\s+(?:kubernetes|k8s_gateway)\b[^\n{]*)(\{\n)?`)

// withObjects gives the stanza its objects from a file, if it has none.
func withObjects(corefile string) string {
	const objects = "manifests test/testdata/examples.yaml\n"
	if strings.Contains(corefile, "manifests ") {
		return corefile
	}
	return ourStanza.ReplaceAllStringFunc(corefile, func(stanza string) string {
		if head, open := strings.CutSuffix(stanza, "{\n"); open {
			return head + "{\n" + objects
		}
		return stanza + " {\n" + objects + "}\n"
	})
}
