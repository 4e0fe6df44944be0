package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/clusterdns/clusterdns/test/controlplane"
)

// up runs a cluster in the foreground until it is interrupted.
func up() int {
	flags := flag.NewFlagSet("kubetest up", flag.ExitOnError)
	data := flags.String("data", "", "`folder` that keeps the cluster; a temporary one if empty")
	nodes := flags.Int("nodes", 3, "`number` of nodes to have")
	apiOnly := flags.Bool("api-only", false, "etcd and the API server only")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, controlplane.Options{DataDir: *data, APIOnly: *apiOnly}, *nodes); err != nil {
		fmt.Fprintln(os.Stderr, "kubetest:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, opts controlplane.Options, nodes int) (err error) {
	if opts.Binary, err = os.Executable(); err != nil {
		return err
	}
	c, err := controlplane.Start(ctx, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	if err := c.EnsureNodes(ctx, nodes); err != nil {
		return err
	}
	fmt.Printf("export KUBECONFIG=%s\n", c.Kubeconfig())
	<-ctx.Done()
	return nil
}
