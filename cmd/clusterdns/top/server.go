package top

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/clusterdns/clusterdns/plugin/console"
)

// server is one that can be asked.
type server interface {
	name() string
	// base returns where its port is to be reached now, as scheme and host.
	base(ctx context.Context, port int) (string, error)
	// mine makes an error of asking say what to do about it.
	mine(err error) error
}

// direct is a server at an address that is known.
type direct struct{ console *url.URL }

// parseServer reads an argument of --server: a URL, or an address and port.
func parseServer(arg string) (*direct, error) {
	text := arg
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("--server %q: %w", arg, err)
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Path != "" && u.Path != "/", u.RawQuery != "", u.User != nil:
		return nil, fmt.Errorf("--server %q is no address of a console such as http://%s", arg, console.DefaultAddr)
	}
	if u.Port() == "" {
		_, port, _ := net.SplitHostPort(console.DefaultAddr)
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return &direct{&url.URL{Scheme: u.Scheme, Host: u.Host}}, nil
}

func (d *direct) name() string { return d.console.Host }

func (d *direct) base(_ context.Context, port int) (string, error) {
	if port == consolePort {
		return d.console.String(), nil
	}
	return "http://" + net.JoinHostPort(d.console.Hostname(), strconv.Itoa(port)), nil
}

// consolePort stands for the port of the console, wherever it is.
const consolePort = 0

func (d *direct) mine(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, errNoConsole) {
		return fmt.Errorf("no console at %s: the line `console %s` in a server block of the Corefile turns it on", d.console, d.console.Host)
	}
	return err
}

var errNoConsole = errors.New("it is no console")

// Bounds of what a server may answer: it may be anybody's.
const (
	maxReport  = 16 << 20
	maxMetrics = 64 << 20
	askTimeout = 5 * time.Second
)

var client = &http.Client{
	// A console sends nobody elsewhere.
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// get calls read with what is at a path of s.
func get(ctx context.Context, s server, port int, path string, limit int64, read func(io.Reader) error) error {
	base, err := s.base(ctx, port)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s%s answers %s", errNoConsole, base, path, answer.Status)
	}
	return read(io.LimitReader(answer.Body, limit))
}

// ask returns a new sample of s. Metrics are taken if they are to be had.
func ask(ctx context.Context, s server, metricsPort int) (*sample, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	got := &sample{report: new(console.Report)}
	err := get(ctx, s, consolePort, "/report.json", maxReport, func(body io.Reader) error {
		err := json.NewDecoder(body).Decode(got.report)
		switch {
		case err != nil && ctx.Err() != nil: // it is slow, be it one or not
			return fmt.Errorf("%s/report.json has not come whole: %w", s.name(), err)
		case err != nil:
			return fmt.Errorf("%w: %w", errNoConsole, err)
		}
		return nil
	})
	if err != nil {
		return nil, s.mine(err)
	}
	if metricsPort > 0 {
		_ = get(ctx, s, metricsPort, "/metrics", maxMetrics, func(body io.Reader) (err error) {
			got.duration, err = readDurations(body)
			return err
		})
	}
	return got, nil
}

// poller asks servers again and again.
type poller struct {
	find        func(ctx context.Context) ([]server, error)
	metricsPort int
	pods        *podNames

	last map[string]*sample // by server's name
}

// atOnce is how many servers are asked at the same time.
const atOnce = 16

// poll returns what all servers say. Its error is that there is none to ask.
func (p *poller) poll(ctx context.Context) (Snapshot, error) {
	servers, err := p.find(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	answers := make([]polled, len(servers))
	free := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, s := range servers {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			answers[i] = polled{name: s.name(), before: p.last[s.name()]}
			answers[i].now, answers[i].err = ask(ctx, s, p.metricsPort)
		})
	}
	wg.Wait()
	p.last = map[string]*sample{}
	for _, a := range answers {
		if a.err == nil {
			p.last[a.name] = a.now
		}
	}
	p.pods.learn(ctx, answers)
	return merge(time.Now(), answers, p.pods.of), nil
}
