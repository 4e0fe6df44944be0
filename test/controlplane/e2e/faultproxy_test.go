package e2e

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/clusterdns/clusterdns/test/controlplane"
)

// between stands between servers and the API server, and speaks HTTP/2 to both: it
// can do what the API server and the network do only when they are broken.
type between struct {
	kubeconfig string
	server     *httptest.Server

	mu     sync.Mutex
	muted  chan struct{}           // closed: watches are silent that are open; their successors are not
	conns  map[*relayed]bool       // those of clients
	refuse func(*http.Request) int // status to answer with; nil, or 0 from it: pass on
}

// relayed is a client's connection. One that is dead swallows what comes from
// either side, and does not end.
type relayed struct {
	net.Conn
	of   *between
	dead chan struct{}
}

// Write implements net.Conn.
func (c *relayed) Write(p []byte) (int, error) {
	select {
	case <-c.dead:
		return len(p), nil
	default:
		return c.Conn.Write(p)
	}
}

// Read implements net.Conn.
func (c *relayed) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		select {
		case <-c.dead:
			if err == nil {
				continue
			}
		default:
		}
		return n, err
	}
}

// Close implements net.Conn.
func (c *relayed) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// relayListener accepts connections that can be made dead.
type relayListener struct {
	net.Listener
	of *between
}

func (l relayListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &relayed{Conn: conn, of: l.of, dead: make(chan struct{})}
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.of.conns[c] = true
	return c, nil
}

// newBetween starts one that passes everything on.
func newBetween(t *testing.T, c *controlplane.ControlPlane) *between {
	t.Helper()
	config := c.Config()
	transport, err := rest.TransportFor(&rest.Config{Host: config.Host, TLSClientConfig: config.TLSClientConfig, BearerToken: config.BearerToken})
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	b := &between{muted: make(chan struct{}), conns: map[*relayed]bool{}}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) },
		ModifyResponse: func(r *http.Response) error {
			if r.Request.URL.Query().Get("watch") != "" {
				b.mu.Lock()
				defer b.mu.Unlock()
				r.Body = &mutable{r.Body, b.muted, r.Request}
			}
			return nil
		},
	}
	b.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		refuse := b.refuse
		b.mu.Unlock()
		if refuse != nil {
			if status := refuse(r); status != 0 {
				http.Error(w, http.StatusText(status), status)
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	b.server.Listener = relayListener{b.server.Listener, b}
	b.server.EnableHTTP2 = true
	b.server.Config.ErrorLog = log.New(io.Discard, "", 0) // it is to break
	b.server.StartTLS()
	t.Cleanup(func() {
		b.server.CloseClientConnections()
		b.server.Close()
	})
	b.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	writeKubeconfig(t, b.kubeconfig, b.server.URL, b.server.Certificate(), &clientcmdapi.AuthInfo{Token: config.BearerToken})
	return b
}

// writeKubeconfig writes one for an API server with that certificate.
func writeKubeconfig(t *testing.T, path, url string, cert *x509.Certificate, user *clientcmdapi.AuthInfo) {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})}
	config.AuthInfos["test"] = user
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	config.CurrentContext = "test"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
}

// mutable is a watch's body that may fall silent for good.
type mutable struct {
	io.ReadCloser
	muted   <-chan struct{}
	request *http.Request
}

// Read implements io.Reader.
func (m *mutable) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	select {
	case <-m.muted:
		<-m.request.Context().Done() // the client gave up
		return 0, m.request.Context().Err()
	default:
		return n, err
	}
}

// mute makes the watches that are open silent: no event comes, no bookmark and no
// end, while HTTP/2's pings are answered.
func (b *between) mute() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.muted)
	b.muted = make(chan struct{})
}

// halfOpen makes the connections that are open dead: nothing comes any more, and
// they do not end.
func (b *between) halfOpen() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		close(c.dead)
		delete(b.conns, c)
	}
}

// cut ends the connections that are open.
func (b *between) cut() {
	b.mu.Lock()
	var conns []*relayed
	for c := range b.conns {
		conns = append(conns, c)
	}
	b.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// refusing has requests answered with the status that fn returns, unless it is 0;
// nil ends that.
func (b *between) refusing(fn func(*http.Request) int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse = fn
}
