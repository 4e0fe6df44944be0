package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/clusterdns/clusterdns/bench/load"
	"github.com/clusterdns/clusterdns/bench/peer"
)

// enough is the share of queries that have to be answered for a round to count.
const enough = 0.999

// void returns why a round does not count, or "".
func void(l load.Result) string {
	switch {
	case l.Sent == 0:
		return "nothing was sent"
	case float64(l.Answered) < enough*float64(l.Sent):
		return fmt.Sprintf("%.2f %% of %d queries were answered", 100*float64(l.Answered)/float64(l.Sent), l.Sent)
	}
	return ""
}

// transport is how a mix is asked as fast as it is answered.
type transport struct {
	mode              string // udp or tcp
	sockets, inFlight int    // in flight over all sockets
}

var transportOf = map[string]transport{
	"udp":  {"udp", 64, 200},
	"udp6": {"udp", 64, 200},
	"veth": {"udp", 64, 200},
	"tcp":  {"tcp", 64, 64 * 16},
	"tcp1": {"tcp", 64, 64},
}

// connects is for 64 connections at once. Knot's queue for them is short, and
// who finds no room there comes again after a second.
const connects = 1500 * time.Millisecond

// saturate loads a peer as much as it takes.
func (r *runner) saturate(ctx context.Context, p *peer.Peer, s *site, a asked, d time.Duration) (load.Result, error) {
	checked, plain, err := s.files(a.mix)
	if err != nil {
		return load.Result{}, err
	}
	t := transportOf[a.proto]
	if r.programs["dnsperf"] == "" {
		return r.dnsload(ctx, p, checked, "-proto", t.mode, "-sockets", strconv.Itoa(t.sockets), "-inflight", strconv.Itoa(t.inFlight/t.sockets), "-duration", d.String(), "-warmup", "0s")
	}
	host, port, err := net.SplitHostPort(p.Addr)
	if err != nil {
		return load.Result{}, err
	}
	if t.mode == "tcp" {
		d += connects
	}
	argv := r.asker(p, r.programs["dnsperf"], "-s", host, "-p", port, "-d", plain, "-m", t.mode, "-c", strconv.Itoa(t.sockets), "-T", "1",
		"-q", strconv.Itoa(t.inFlight), "-t", "2", "-l", strconv.FormatFloat(d.Seconds(), 'f', -1, 64))
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return load.Result{}, fmt.Errorf("dnsperf: %w\n%s", err, out)
	}
	return parseDnsperf(string(out))
}

// asker returns the command of a load generator where it belongs: on the cores of a
// server that has more than one, else on another, and with the server's clients.
func (r *runner) asker(p *peer.Peer, argv ...string) []string {
	cpus := strconv.Itoa(r.load)
	if p.Config.Cores > 1 {
		cpus = p.Config.CPUs
	}
	return p.Config.Pair.Client.Command(append([]string{"taskset", "-c", cpus}, argv...)...)
}

// parseDnsperf reads dnsperf's report.
func parseDnsperf(text string) (l load.Result, err error) {
	get := func(label string) float64 {
		for line := range strings.Lines(text) {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), label); ok {
				if fields := strings.Fields(rest); len(fields) > 0 {
					v, err1 := strconv.ParseFloat(fields[0], 64)
					err = errors.Join(err, err1)
					return v
				}
			}
		}
		err = errors.Join(err, fmt.Errorf("dnsperf reports no %q", label))
		return 0
	}
	l.Sent, l.Answered = uint64(get("Queries sent:")), uint64(get("Queries completed:"))
	l.QPS, l.Duration = get("Queries per second:"), get("Run time (s):")
	if err != nil {
		err = fmt.Errorf("%w in:\n%s", err, text)
	}
	return l, err
}

// dnsload runs our own load generator, which checks every answer. A wrong one
// is no error but counted.
func (r *runner) dnsload(ctx context.Context, p *peer.Peer, questions string, args ...string) (l load.Result, err error) {
	if r.plan.patience > 0 {
		args = append(args, "-timeout", r.plan.patience.String())
	}
	argv := r.asker(p, append([]string{r.programs["dnsload"], "-server", p.Addr, "-questions", questions}, args...)...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if jsonErr := json.Unmarshal(out, &l); jsonErr != nil {
		return l, fmt.Errorf("dnsload: %w: %s%s", errors.Join(err, jsonErr), stderr.String(), out)
	}
	if err != nil && l.Wrong == 0 {
		return l, fmt.Errorf("dnsload: %w: %s", err, stderr.String())
	}
	return l, nil
}

// files returns a mix's question files, which it writes once.
func (s *site) files(mix string) (checked, plain string, err error) {
	if s.written == nil {
		s.written = map[string][2]string{}
	}
	if f, ok := s.written[mix]; ok {
		return f[0], f[1], nil
	}
	if checked, plain, err = s.WriteQuestions(s.dir, mix); err == nil {
		s.written[mix] = [2]string{checked, plain}
	}
	return checked, plain, err
}

// check asks a peer a mix with all answers checked, once a run, and returns the
// first wrong answer, or "".
func (r *runner) check(ctx context.Context, p *peer.Peer, s *site, mix, proto string) (string, error) {
	key := strings.Join([]string{s.Name, p.Config.Name, mix, proto}, " ")
	if why, ok := r.wrong[key]; ok {
		return why, nil
	}
	checked, _, err := s.files(mix)
	if err != nil {
		return "", err
	}
	l, err := r.dnsload(ctx, p, checked, "-proto", transportOf[proto].mode, "-sockets", "8", "-inflight", "8", "-duration", "500ms", "-warmup", "0s")
	if err != nil {
		return "", err
	}
	why := ""
	if l.Wrong > 0 {
		why = fmt.Sprintf("%d of %d answers are wrong, the first: %s", l.Wrong, l.Answered, l.FirstWrong)
	} else if l.Answered == 0 {
		why = "no answer"
	}
	r.wrong[key] = why
	return why, nil
}
