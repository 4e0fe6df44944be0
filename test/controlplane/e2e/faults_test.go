package e2e

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	full  = flag.Bool("full", false, "meet every fault, for as long as the table says")
	table = flag.String("table", "", "`file` that the table of faults is written to")
	only  = flag.String("fault", "", "`words` that the names of the faults to meet have")
)

// fault is something that breaks while two servers answer: clusterdns and stock
// CoreDNS, started alike, side by side.
type fault struct {
	name string
	long bool // it takes long, and is met in the full table only
	// stanza is what the servers have in their stanza, the kubeconfig apart, and
	// prepare changes them in other ways before they start.
	stanza  func(*trial) []string
	prepare func(*trial, *config)
	// networks are what is asked over; nil is UDP and TCP.
	networks []string
	// meet breaks something, and mends it. Servers that do not see a change soon
	// after it are late.
	meet func(*trial)
	// absent says why answers may be missing meanwhile; "" is that none may.
	absent string
	// patient is how long a change may take to be seen afterwards; 0 is a minute.
	patient time.Duration
}

// trial is a fault that is met.
type trial struct {
	*outage
	*testing.T
	fault
	between *between            // the way to the API server
	peers   [2]*peer            // clusterdns is the first
	files   string              // a folder for what both servers read
	besides map[question]string // what is asked besides
}

// faults is the table, in its order.
var faults = slices.Concat(apiFaults, serverFaults, systemFaults)

// peer is one of the two servers.
type peer struct {
	*server
	name   string
	config config
	load   *steady
	also   []*steady // of what the fault is about
	tally  tally
	seen   time.Duration // how long after the fault a change was seen; 0: never
	out    string        // why it does not take part; "" if it does
}

// TestFaults has every fault in the table met, one after the other.
func TestFaults(t *testing.T) {
	t.Parallel()
	stock, err := stockBinary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := newOutage(t)
	rows := map[string]string{}
	for _, f := range faults {
		if f.long && !*full && *only == "" || !strings.Contains(f.name, *only) {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			tr := &trial{outage: o, T: t, fault: f, between: newBetween(t, o.ControlPlane), files: t.TempDir()}
			for i, program := range []program{{plugin: "clusterdns"}, {binary: stock, plugin: "kubernetes"}} {
				tr.peers[i] = tr.start(program)
			}
			tr.run()
			rows[f.name] = tr.row()
		})
	}
	if *table != "" && !t.Failed() {
		if err := writeTable(*table, rows); err != nil {
			t.Error(err)
		}
	}
	t.Logf("\n%s%s", tableHead, inOrder(rows))
}

// inOrder returns rows in the order of the faults.
func inOrder(rows map[string]string) string {
	var lines strings.Builder
	for _, f := range faults {
		if row, ok := rows[f.name]; ok {
			lines.WriteString(row + "\n")
		}
	}
	return lines.String()
}

// stockBinary returns the CoreDNS in STOCK_BINARY, which make sets, or builds it.
func stockBinary(ctx context.Context) (string, error) {
	if path := os.Getenv("STOCK_BINARY"); path != "" {
		return path, nil
	}
	path := filepath.Join(scratch, "stock")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", path, "./cmd/stock")
	cmd.Dir = "../../../bench"
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building stock CoreDNS: %w\n%s", err, out)
	}
	return path, nil
}

// start starts a server, and waits until it answers as the API says.
func (tr *trial) start(program program) *peer {
	tr.Helper()
	p := &peer{name: map[bool]string{true: "clusterdns", false: "CoreDNS"}[program.binary == ""]}
	p.config = config{stanza: []string{"kubeconfig " + tr.between.kubeconfig}, program: program}
	if tr.stanza != nil {
		p.config.stanza = tr.stanza(tr)
	}
	if tr.prepare != nil {
		tr.prepare(tr, &p.config)
	}
	var err error
	if p.server, err = startServer(tr.TempDir(), p.config); err != nil {
		tr.Fatal(err)
	}
	tr.Cleanup(func() {
		if err := p.server.stop(); err != nil && p.ours() {
			tr.Error(err)
		}
		if tr.Failed() {
			tr.Log(p.logTail())
		}
	})
	if err := p.waitReady(tr.Context()); err != nil {
		if p.ours() {
			tr.Fatal(err)
		}
		p.out = "not ready within " + limit.String()
		select {
		case <-p.done:
			p.out = "it ended: " + p.err.Error()
		default:
		}
		tr.Logf("%s: %s", p.name, p.out)
		return p
	}
	for q, want := range tr.wanted() {
		p.becomes(tr.T, q, want)
	}
	return p
}

// taking are the servers that take part.
func (tr *trial) taking() []*peer {
	return slices.DeleteFunc(slices.Clone(tr.peers[:]), func(p *peer) bool { return p.out != "" })
}

// wanted is what is asked all the time, and the answers.
func (tr *trial) wanted() map[question]string {
	want := maps.Clone(tr.want)
	maps.Copy(want, tr.besides)
	return want
}

// listed waits until clusterdns has listed every resource n times.
func (tr *trial) listed(n float64) {
	tr.Helper()
	wait(tr.T, "lists", func() error {
		for _, resource := range []string{"services", "endpointslices", "pods"} {
			if lists := tr.peers[0].metric(tr.T, "coredns_clusterdns_lists_total", fmt.Sprintf("resource=%q", resource)); lists < n {
				return fmt.Errorf("%v lists of %s", lists, resource)
			}
		}
		return nil
	})
}

func (p *peer) ours() bool { return p.config.program.binary == "" }

// run meets the fault under load.
func (tr *trial) run() {
	networks := tr.networks
	if networks == nil {
		networks = []string{"udp", "tcp"}
	}
	for _, p := range tr.taking() {
		p.load = p.keepAsking(checksOf(tr.wanted()), networks...)
	}
	tr.hold(time.Second)
	tr.meet(tr)
	tr.follow()
	tr.hold(time.Second)
	for _, p := range tr.taking() {
		for _, l := range p.also {
			p.load.add(l.stop())
		}
		p.tally = p.load.stop()
		for _, bad := range p.tally.bad {
			tr.Logf("%s: %s", p.name, bad)
		}
		tr.Logf("%s: %d questions, %d wrong, %d missing, longest gap %v, a change was seen after %v",
			p.name, p.tally.asked, p.tally.wrong, p.tally.missing, p.tally.gap, p.seen)
	}
	switch ours := tr.peers[0]; {
	case ours.tally.wrong > 0:
		tr.Errorf("%d answers were wrong", ours.tally.wrong)
	case ours.tally.missing > 0 && tr.absent == "":
		tr.Errorf("%d answers were missing", ours.tally.missing)
	case ours.seen == 0:
		tr.Errorf("a change was not seen within %v", tr.within())
	}
}

func (tr *trial) within() time.Duration { return max(time.Minute, tr.patient) }

// hold lets the load go on for d.
func (tr *trial) hold(d time.Duration) {
	select {
	case <-time.After(d):
	case <-tr.Context().Done():
	}
}

// during is how long a fault lasts: the first in the full table, or the second.
func during(full_, short time.Duration) time.Duration {
	if *full {
		return full_
	}
	return short
}

// change makes a service, and returns a question for it and the answer.
func (tr *trial) change() (q question, want string) {
	tr.Helper()
	s := *tr.space
	s.t = tr.T
	name := fmt.Sprint("after-", time.Now().UnixNano()%1e9)
	wait(tr.T, "an API server that takes a change", func() error {
		svc, err := tr.client.CoreV1().Services(s.name).Create(tr.Context(), service(name), metav1.CreateOptions{})
		if err == nil {
			q = a(s.fqdn(name))
			want = addrText(q, svc.Spec.ClusterIP)
		}
		return err
	})
	return q, want
}

// follow makes a change, and notes how long each server takes to see it. In the
// short form nobody waits for a server that is not ours.
func (tr *trial) follow() {
	tr.Helper()
	start := time.Now()
	q, want := tr.change()
	for deadline := start.Add(tr.within()); time.Now().Before(deadline); tr.hold(5 * time.Millisecond) {
		waiting := false
		for _, p := range tr.taking() {
			if p.seen != 0 {
				continue
			}
			if got, err := p.once("udp", q); err == nil && got == want {
				p.seen = time.Since(start)
				continue
			}
			waiting = waiting || p.ours() || *full
		}
		if !waiting {
			return
		}
	}
}

const tableHead = "| fault | questions to each | clusterdns: wrong | missing | longest gap | change seen after | CoreDNS: wrong | missing | longest gap | change seen after |\n" +
	"|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"

func (tr *trial) row() string {
	cells := []string{tr.name, fmt.Sprint(tr.peers[0].tally.asked)}
	for _, p := range tr.peers {
		if p.out != "" {
			cells = append(cells, "", "", "", p.out)
			continue
		}
		seen := "not within " + tr.within().String()
		switch {
		case p.seen != 0:
			seen = short(p.seen)
		case !*full:
			seen = "not awaited"
		}
		cells = append(cells, fmt.Sprint(p.tally.wrong), fmt.Sprint(p.tally.missing), short(p.tally.gap), seen)
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

func short(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// writeTable puts rows into the table of a page, between its marks. Those of faults
// that were not met this time stay.
func writeTable(path string, rows map[string]string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(page), "<!-- table -->\n")
	table, after, closed := strings.Cut(rest, "<!-- end -->\n")
	if !ok || !closed {
		return fmt.Errorf("%s has no marks for the table", path)
	}
	all := map[string]string{}
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, " | "); len(cells) > 1 {
			all[strings.TrimPrefix(cells[0], "| ")] = strings.TrimSpace(line)
		}
	}
	maps.Copy(all, rows)
	text := fmt.Sprintf("%s<!-- table -->\nOn %d cores, %s/%s, each server at %d questions a second over UDP and %d over TCP:\n\n%s%s",
		before, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, rates["udp"], rates["tcp"], tableHead, inOrder(all))
	text += "\nWhere answers may be missing, and why:\n\n"
	for _, f := range faults {
		if f.absent != "" {
			text += fmt.Sprintf("- %s: %s.\n", f.name, f.absent)
		}
	}
	return os.WriteFile(path, []byte(text+"<!-- end -->\n"+after), 0o644)
}
