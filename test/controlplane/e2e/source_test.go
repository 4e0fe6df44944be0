package e2e

import (
	"syscall"
	"testing"
)

// testSource reloads to other sources of the same cluster, by options, while the
// API server is down: the index before answers, through the fast lane too, and
// the new source takes over when the API server is back. Nothing may be lost.
func (o *outage) testSource(t *testing.T) {
	server := o.server(t)
	load := server.load(t, o.want)
	o.kill(t)
	for _, options := range [][]string{
		{"apiserver_qps 7", "apiserver_max_inflight 3"}, // the same source
		{"endpoint_pod_names"},
		{"endpoint_pod_names", "zonal"}, // from one that waits to another
	} {
		server.logs(t, "Reloading complete", func() {
			if err := server.configure(o.config(options...)); err != nil {
				t.Fatal(err)
			}
			if err := server.proc.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
		})
		load.more(500)
		server.wantLane(t, true)
		if err := server.checkReady(t.Context()); err != nil {
			t.Error(err)
		}
	}
	server.logs(t, "no longer from that of", func() { o.start(t) })
	load.more(500)
	o.changes(t, "after-source")(server)
	load.stop()
}
