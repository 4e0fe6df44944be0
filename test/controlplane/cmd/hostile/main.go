// Command hostile sends to clusterdns, and to stock CoreDNS beside it, what
// somebody who means harm would: questions whose answers are dear, objects that
// a tenant may write, and floods. It prints what each cost.
//
// It needs the two binaries, and kubetest built ahead:
//
//	go run ./cmd/hostile -clusterdns FILE -coredns FILE
//
// Everything is sent to loopback, and bounded in number and time. The exit
// status is 1 if clusterdns broke one of the bounds at the end of the report.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/clusterdns/clusterdns/test/controlplane"
)

var (
	ours  = flag.String("clusterdns", "", "the clusterdns `binary`")
	stock = flag.String("coredns", "", "the stock CoreDNS `binary`; none is left out")
	only  = flag.String("only", "", "`word` that the names of what is run have to hold")
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	broken, err := run(ctx)
	if err != nil {
		log.Fatal("hostile: ", err)
	}
	if len(broken) > 0 {
		log.Fatalf("\n%d bounds broken:\n%s", len(broken), strings.Join(broken, "\n"))
	}
	fmt.Println("\nEvery bound was kept.")
}

// peers returns the servers to compare, which are not running yet.
func peers() []peer {
	all := []peer{
		{name: "clusterdns", binary: *ours, ours: true},
		{name: "clusterdns, lane off", binary: *ours, ours: true, options: "fastlane off"},
	}
	if *stock != "" {
		all = append(all, peer{name: "stock CoreDNS", binary: *stock})
	}
	return all
}

func run(ctx context.Context) (broken []string, err error) {
	if *ours == "" {
		return nil, fmt.Errorf("-clusterdns is not given")
	}
	progress("starting a control plane")
	cluster, err := controlplane.Start(ctx, controlplane.Options{APIOnly: true})
	if err != nil {
		return nil, err
	}
	defer cluster.Stop()
	client, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		return nil, err
	}
	w := &world{client: client, kubeconfig: cluster.Kubeconfig()}

	fmt.Print("# What it costs\n\nCPU of the server for one question or one change, at n and 10 n. The longest wait is of\n" +
		"an unrelated client, who asks once every 2 ms over UDP while the larger ones are asked for.\n\n" +
		"| sent or changed | n | server | at n | at 10 n | ratio | octets at 10 n | longest wait |\n|---|--:|---|--:|--:|--:|--:|--:|\n")
	for _, s := range shapes {
		if !strings.Contains(s.name, *only) {
			continue
		}
		rows, err := w.measure(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		for _, r := range rows {
			fmt.Println(r)
			broken = append(broken, r.broken()...)
		}
	}
	fmt.Print("\n# Floods\n\n| sent | server | unrelated: asked | missing | longest wait | goroutines, most | RSS before, most, after (MB) |\n|---|---|--:|--:|--:|--:|--:|\n")
	for _, f := range floods {
		if !strings.Contains(f.name, *only) {
			continue
		}
		for _, p := range peers() {
			r, err := w.flood(ctx, f, p)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", f.name, p.name, err)
			}
			fmt.Println(r)
			broken = append(broken, r.broken()...)
		}
	}
	if strings.Contains("amplification", *only) {
		if err := w.amplify(ctx); err != nil {
			return nil, err
		}
	}
	return broken, nil
}

// progress says on standard error what takes a while.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}
