// Command dnsload puts load on a DNS server, checks every answer and measures
// latency. Package load says how, package question what a file of questions
// looks like.
//
//	dnsload -server 127.0.0.1:1053 -questions FILE -duration 10s
//	dnsload -server 127.0.0.1:1053 -questions FILE -mode open -rate 20000 -pairs
//	dnsload -server 127.0.0.1:1053 -questions FILE -walk -search "shop.svc.cluster.local svc.cluster.local cluster.local"
//	dnsload -server 127.0.0.1:1053 -random shop.svc.cluster.local
//
// Its exit status is 1 if an answer was wrong, and 2 if it could not run.
// SIGINT ends the run, with the result up to then.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/clusterdns/clusterdns/bench/load"
	"github.com/clusterdns/clusterdns/bench/question"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are those of the command that are not the load's.
type options struct {
	json  string // file for the result, - for standard output
	quiet bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	config, opts, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil && !opts.quiet && isTerminal(stderr) {
		config.Progress = func(r *load.Result) { progress(stderr, r) }
	}
	var result *load.Result
	if err == nil {
		result, err = load.Run(ctx, config)
	}
	if config.Progress != nil {
		fmt.Fprint(stderr, "\r\033[K")
	}
	if err == nil {
		err = write(result, opts, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "dnsload:", err)
		return 2
	}
	if result.Wrong > 0 {
		fmt.Fprintf(stderr, "dnsload: %d wrong answers; the first: %s\n", result.Wrong, result.FirstWrong)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (c load.Config, o options, err error) {
	flags := flag.NewFlagSet("dnsload", flag.ContinueOnError)
	flags.SetOutput(stderr)
	server := flags.String("server", "127.0.0.1:1053", "`address` and port of the server")
	questions := flags.String("questions", "", "`file` of questions and expected answers")
	proto := flags.String("proto", "udp", "udp, or tcp: persistent connections with pipelined queries")
	mode := flags.String("mode", "closed", "closed, or open: at the rate of -rate")
	flags.Float64Var(&c.Rate, "rate", 0, "`queries` a second of an open loop")
	flags.IntVar(&c.Sockets, "sockets", 16, "`number` of sockets or connections")
	flags.IntVar(&c.InFlight, "inflight", 0, "`lookups` in flight on each of them (closed: 4, open: 1024)")
	flags.BoolVar(&c.Pairs, "pairs", false, "ask AAAA along with every A")
	flags.BoolVar(&c.Walk, "walk", false, "look names up along -search, as with ndots:5")
	search := flags.String("search", "", "`zones` of the search list, separated by spaces")
	flags.StringVar(&c.Random, "random", "", "ask for random names in this `zone`; NXDOMAIN is expected")
	edns := flags.Uint("edns", 0, "UDP `size` to advertise; 0 for no EDNS")
	flags.DurationVar(&c.Duration, "duration", 5*time.Second, "of the measurement")
	flags.DurationVar(&c.Warmup, "warmup", time.Second, "before the measurement")
	flags.DurationVar(&c.Timeout, "timeout", 2*time.Second, "after which a query is lost")
	flags.StringVar(&o.json, "json", "", "write the result as JSON to this `file`, - for standard output")
	flags.BoolVar(&o.quiet, "quiet", false, "no progress, and no result but that of -json")
	if err := flags.Parse(args); err != nil {
		return c, o, err
	}
	if flags.NArg() > 0 {
		return c, o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if c.Server, err = netip.ParseAddrPort(*server); err != nil {
		return c, o, fmt.Errorf("-server: %w", err)
	}
	switch *proto {
	case "udp", "tcp":
		c.TCP = *proto == "tcp"
	default:
		return c, o, fmt.Errorf("-proto %q: want udp or tcp", *proto)
	}
	inFlight := 4
	switch {
	case *mode != "closed" && *mode != "open":
		return c, o, fmt.Errorf("-mode %q: want closed or open", *mode)
	case *mode == "closed" && c.Rate != 0:
		return c, o, fmt.Errorf("-rate %v: only an open loop has a rate", c.Rate)
	case *mode == "open" && c.Rate <= 0:
		return c, o, fmt.Errorf("-mode open needs a -rate, not %v", c.Rate)
	case *mode == "open":
		inFlight = 1024
	}
	if c.InFlight == 0 {
		c.InFlight = inFlight
	}
	if *edns > 65535 || *edns > 0 && *edns < 512 {
		return c, o, fmt.Errorf("-edns %d: want 0 or a size from 512 to 65535", *edns)
	}
	c.EDNS = uint16(*edns)
	c.Search = strings.Fields(*search)
	if c.Walk && len(c.Search) == 0 {
		return c, o, errors.New("-walk needs -search")
	}
	switch {
	case c.Random == "" && *questions == "":
		return c, o, errors.New("either -questions or -random is needed")
	case *questions != "":
		c.Questions, err = question.Read(*questions)
	}
	return c, o, err
}

// write writes the result where the options want it.
func write(r *load.Result, o options, stdout io.Writer) error {
	if !o.quiet && o.json != "-" {
		fmt.Fprint(stdout, r)
	}
	if o.json == "" {
		return nil
	}
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	data = append(data, '\n')
	if o.json == "-" {
		_, err = stdout.Write(data)
	} else {
		err = os.WriteFile(o.json, data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// isTerminal tells whether a person looks at w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// progress replaces the line on the terminal.
func progress(w io.Writer, r *load.Result) {
	if r.Duration == 0 {
		fmt.Fprint(w, "\r\033[Kwarming up")
		return
	}
	fmt.Fprintf(w, "\r\033[K%4.0f s  %8.0f q/s  p50 %.0f µs  p99 %.0f µs  lost %d  wrong %d",
		r.Duration, r.QPS, r.Latency.P50, r.Latency.P99, r.Lost, r.Wrong)
}
