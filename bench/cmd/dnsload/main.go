// Command dnsload puts load on a DNS server, checks every answer and measures
// latency. Package load says how, package question what a file of questions
// looks like.
//
//	dnsload -server 127.0.0.1:1053 -questions FILE -duration 10s
//	dnsload -server 127.0.0.1:1053 -questions FILE -rate 20000
//
// It prints the result as JSON. Its exit status is 1 if an answer was wrong, and
// 2 if it could not run. SIGINT ends the run, with the result up to then.
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
	"time"

	"github.com/clusterdns/clusterdns/bench/load"
	"github.com/clusterdns/clusterdns/bench/question"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	config, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	var result *load.Result
	if err == nil {
		result, err = load.Run(ctx, config)
	}
	if err == nil {
		out := json.NewEncoder(stdout)
		out.SetIndent("", "  ")
		err = out.Encode(result)
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

func parse(args []string, stderr io.Writer) (c load.Config, err error) {
	flags := flag.NewFlagSet("dnsload", flag.ContinueOnError)
	flags.SetOutput(stderr)
	server := flags.String("server", "127.0.0.1:1053", "`address` and port of the server")
	questions := flags.String("questions", "", "`file` of questions and expected answers")
	proto := flags.String("proto", "udp", "udp, or tcp: persistent connections with pipelined queries")
	flags.Float64Var(&c.Rate, "rate", 0, "`queries` a second, whatever the server does; without it as many as it answers")
	flags.IntVar(&c.Sockets, "sockets", 16, "`number` of sockets or connections")
	flags.IntVar(&c.InFlight, "inflight", 0, "`queries` in flight on each of them (4, or 1024 with -rate)")
	flags.DurationVar(&c.Duration, "duration", 5*time.Second, "of the measurement")
	flags.DurationVar(&c.Warmup, "warmup", time.Second, "before the measurement")
	flags.DurationVar(&c.Timeout, "timeout", 2*time.Second, "after which a query is lost")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if flags.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if c.Server, err = netip.ParseAddrPort(*server); err != nil {
		return c, fmt.Errorf("-server: %w", err)
	}
	switch *proto {
	case "udp", "tcp":
		c.TCP = *proto == "tcp"
	default:
		return c, fmt.Errorf("-proto %q: want udp or tcp", *proto)
	}
	if c.InFlight == 0 && c.Rate == 0 {
		c.InFlight = 4
	} else if c.InFlight == 0 {
		c.InFlight = 1024
	}
	if *questions == "" {
		return c, errors.New("-questions is needed")
	}
	c.Questions, err = question.Read(*questions)
	return c, err
}
