package e2e

import (
	"bufio"
	"context"
	"encoding/csv"
	"flag"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var (
	soaking = flag.Duration("soak", 0, "how long to soak")
	samples = flag.String("samples", "", "`file` that the soak's samples are written to, as CSV")
)

// column is something of a server that is sampled in a soak, and may not rise.
type column struct {
	name string
	// more is how much of what was in the first third may be added by the last, in
	// hundredths, and slack what may be added besides.
	more, slack float64
}

// columns of a sample. The heap is the size at which the next garbage collection is
// due: it follows what is alive, where the heap itself goes up and down. Latency is
// that of all questions since the sample before. What the machine makes of it is
// told by an echo: a server in the test that answers at once, asked in the same way.
var columns = []column{
	{"heap goal (MiB)", 10, 1},
	{"RSS (MiB)", 10, 4},
	{"goroutines", 10, 10},
	{"file descriptors", 10, 10},
	{"median latency (ms)", 50, 0.5},
	{"99th percentile of latency (ms)", math.Inf(1), 0}, // the machine's more than ours
	{"99th percentile, times an echo's", 100, 3},
}

// TestSoak runs a server for a long time, while the cluster churns, its Corefile
// changes, and the API server comes and goes. Every answer is checked, and nothing
// may grow: the median of each column in the last third may not exceed that of
// the first by more than the column says. What is first is the time after a tenth:
// caches fill until then.
func TestSoak(t *testing.T) {
	if *soaking == 0 {
		t.Skip("make soak runs it")
	}
	o := newOutage(t)
	b := newBetween(t, o.ControlPlane)
	conf := config{stanza: []string{"kubeconfig " + b.kubeconfig}}
	srv := newServer(t, conf)
	if err := srv.waitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	checks := checksOf(o.want)
	ctx, cancel := context.WithTimeout(t.Context(), *soaking)
	defer cancel()
	var doing sync.WaitGroup
	churn := newChurn(t, o, 200)
	checks = append(checks, churn.checks()...)
	churn.settled(srv)
	load, echo := srv.keepAsking(checks, "udp", "tcp"), newEcho(t).keepAsking([]check{{a("echo.test."), func(time.Time, string) bool { return true }}}, "udp")
	doing.Go(func() { churn.run(ctx, 50) })
	doing.Go(func() { // faults: each kind in turn
		for n := 0; ; n++ {
			if !pause(ctx, 15*time.Second) {
				return
			}
			switch n % 3 {
			case 0:
				b.cut()
			case 1:
				b.halfOpen()
			case 2:
				churn.holding(func() {
					o.kill(t)
					pause(ctx, 2*time.Second)
					o.start(t)
				})
			}
		}
	})
	doing.Go(func() { // reloads
		for n := 0; pause(ctx, 10*time.Second); n++ {
			c := conf
			c.stanza = append(slices.Clone(conf.stanza), fmt.Sprint("ttl ", 5+n%10))
			if err := srv.configure(c); err != nil {
				t.Error(err)
			}
		}
	})
	every := max(*soaking/200, time.Second)
	var rows [][]float64
	start := time.Now()
	for pause(ctx, every) {
		row, err := srv.sample(t, load, echo)
		if err != nil {
			t.Error(err)
			break
		}
		rows = append(rows, append([]float64{time.Since(start).Seconds()}, row...))
		if len(rows)%10 == 0 {
			t.Logf("%v of %v: %v", time.Since(start).Round(time.Second), *soaking, describe(row))
		}
	}
	cancel()
	doing.Wait()
	echo.stop()
	// CoreDNS's reload panics if it is ended amidst; it looks every 2 s, and a bit.
	pause(t.Context(), 4*time.Second)
	result := load.stop()
	t.Logf("%d questions, %d wrong, %d missing, longest gap %v; %d changes of slices", result.asked, result.wrong, result.missing, result.gap, churn.written.Load())
	if result.wrong+result.missing > 0 {
		t.Errorf("%q", result.bad)
	}
	if *samples != "" {
		if err := writeSamples(*samples, rows); err != nil {
			t.Error(err)
		}
	}
	for i, col := range columns {
		first, last, rises := col.rises(rows, i+1)
		t.Logf("%s: median %.4g in the first third, %.4g in the last", col.name, first, last)
		if rises {
			t.Errorf("%s rose from %.4g to %.4g", col.name, first, last)
		}
	}
}

// newEcho starts a server that answers everything at once, without records.
func newEcho(t *testing.T) *server {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	echo := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		w.WriteMsg(new(dns.Msg).SetReply(m))
	})}
	go echo.ActivateAndServe()
	t.Cleanup(func() { conn.Close() })
	return &server{addr: conn.LocalAddr().String()}
}

// pause waits, and is false if ctx ends meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func describe(row []float64) string {
	var parts []string
	for i, c := range columns {
		parts = append(parts, fmt.Sprintf("%s %.4g", c.name, row[i]))
	}
	return strings.Join(parts, ", ")
}

// rises compares the medians of a column in the first and in the last third of rows,
// without the first tenth of all.
func (c column) rises(rows [][]float64, at int) (first, last float64, rises bool) {
	rows = rows[len(rows)/10:]
	if len(rows) < 6 {
		return 0, 0, true // nothing is shown by so few
	}
	median := func(rows [][]float64) float64 {
		var values []float64
		for _, r := range rows {
			values = append(values, r[at])
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	first, last = median(rows[:len(rows)/3]), median(rows[len(rows)-len(rows)/3:])
	return first, last, last > first*(1+c.more/100)+c.slack
}

// sample reads the columns of a server.
func (s *server) sample(t *testing.T, load, echo *steady) ([]float64, error) {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.proc.Pid))
	if err != nil {
		return nil, err
	}
	rss, err := residentMemory(s.proc.Pid)
	if err != nil {
		return nil, err
	}
	var heap, goroutines float64
	err = poll(func() (err error) {
		if heap, err = s.readMetric(t.Context(), "go_memstats_next_gc_bytes"); err == nil {
			goroutines, err = s.readMetric(t.Context(), "go_goroutines")
		}
		return err
	})
	median, most := load.latency()
	_, least := echo.latency()
	return []float64{heap / (1 << 20), rss, goroutines, float64(len(fds)), median, most, most / max(least, 0.1)}, err
}

// residentMemory returns that of a process, in MiB.
func residentMemory(pid int) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if rest, ok := strings.CutPrefix(in.Text(), "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}

func writeSamples(path string, rows [][]float64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	out := csv.NewWriter(f)
	head := []string{"seconds"}
	for _, c := range columns {
		head = append(head, c.name)
	}
	out.Write(head)
	for _, row := range rows {
		var cells []string
		for _, v := range row {
			cells = append(cells, strconv.FormatFloat(v, 'g', 6, 64))
		}
		out.Write(cells)
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return err
	}
	return f.Close()
}
