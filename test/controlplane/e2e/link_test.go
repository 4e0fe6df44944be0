package e2e

import (
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/clusterdns/clusterdns/test/controlplane"
)

// link is a way to an API server that can be cut while the API server stays up.
type link struct {
	kubeconfig string // goes over the link
	target     string // host:port of the API server
	addr       string // host:port of the link

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
	copying  sync.WaitGroup
}

func newLink(t *testing.T, c *controlplane.ControlPlane) *link {
	t.Helper()
	addrs, err := freeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	l := &link{
		kubeconfig: filepath.Join(t.TempDir(), "kubeconfig"),
		target:     net.JoinHostPort(c.HostPort()),
		addr:       addrs[0],
	}
	config, err := clientcmd.LoadFromFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server = "https://" + l.addr
	}
	if err := clientcmd.WriteToFile(*config, l.kubeconfig); err != nil {
		t.Fatal(err)
	}
	l.restore(t)
	t.Cleanup(func() { l.cut() })
	return l
}

// restore lets connections through.
func (l *link) restore(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", l.addr)
	if err != nil {
		t.Fatal(err)
	}
	l.listener = listener
	l.copying.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // cut
			}
			l.copying.Go(func() { l.pass(conn) })
		}
	})
}

// pass copies both ways until one end closes.
func (l *link) pass(from net.Conn) {
	to, err := net.Dial("tcp", l.target)
	if err != nil {
		from.Close()
		return
	}
	l.mu.Lock()
	l.conns = append(l.conns, from, to)
	l.mu.Unlock()
	closeBoth := func() { from.Close(); to.Close() }
	l.copying.Go(func() {
		defer closeBoth()
		io.Copy(from, to)
	})
	defer closeBoth()
	io.Copy(to, from)
}

// cut ends all connections and refuses new ones.
func (l *link) cut() *link {
	l.listener.Close()
	l.mu.Lock()
	for _, conn := range l.conns {
		conn.Close()
	}
	l.conns = nil
	l.mu.Unlock()
	l.copying.Wait()
	return l
}
