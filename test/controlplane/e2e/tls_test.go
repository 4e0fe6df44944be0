package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// clientCert is an administrator's client certificate, and the paths that the
// option tls wants.
type clientCert struct{ ca, cert, key string }

// newClientCert makes a certificate that is its own authority: the API server
// takes it if it is told to by --client-ca-file.
func newClientCert(t *testing.T) clientCert {
	t.Helper()
	dir := t.TempDir()
	c := clientCert{cert: filepath.Join(dir, "client.crt"), key: filepath.Join(dir, "client.key")}
	c.ca = c.cert
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "dns", Organization: []string{"system:masters"}},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		c.cert: {Type: "CERTIFICATE", Bytes: cert},
		c.key:  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// testEndpoint names the API server by the options endpoint and tls.
func (o *outage) testEndpoint(t *testing.T) {
	server := newServer(t, config{stanza: []string{
		"endpoint " + o.Config().Host,
		"tls " + o.cert.cert + " " + o.cert.key + " " + o.CAFile(),
	}})
	if err := server.waitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	for q, want := range o.want {
		server.is(t, q, want)
	}
	o.changes(t, "by-endpoint")(server)
}
