// Package top is the subcommand top: who asks what, over all replicas.
//
// Each server keeps count of names and clients if its Corefile has the plugin
// console, and gives a report of that (package console). A poller asks all of
// them at once, directly or through port-forwards, and a Snapshot is what they
// say together. A model shows one after the other on a terminal; --once writes
// one.
package top

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/clusterdns/clusterdns/plugin/console"

	tea "charm.land/bubbletea/v2"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/client-go/tools/clientcmd"
)

// Explain says why a name resolves as it does, as the subcommand explain.
type Explain func(ctx context.Context, args []string) string

// options are the flags of the command.
type options struct {
	namespace, selector  string
	kubeconfig, context  string
	servers              []string
	dns                  string
	consolePort, metrics int
	by, output           string
	once                 bool
	rows                 int
	interval             time.Duration
}

// New returns the command.
func New(explain Explain) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "top [-n NAMESPACE] [-l LABELS] [--server ADDRESS]... [--by TABLE] [--once [-o text|json]]",
		Short: "show who asks what, over all servers, as it happens",
		Long: "Asks every server once in a while and shows, for all together: questions a second, response codes, how many the fast lane answers, " +
			"how long answers take, and the names, clients, names that do not exist, and namespaces with the most questions.\n" +
			"The servers are the pods with such labels in such a namespace, reached through the API server as by kubectl port-forward, " +
			"or those at the addresses given. Each needs the line `console` in a server block of its Corefile; quantiles of latency need `prometheus`.\n" +
			"The pods of clients are looked up with your rights. That takes list of pods in all namespaces; without it their addresses are shown. " +
			"Port-forwards take list of pods and create of pods/portforward in the namespace of the servers.\n" +
			"On a terminal Tab and the digits turn to another table, / filters, s and r sort, Enter explains a name, p pauses, q ends.",
		Example: "  clusterdns top\n" +
			"  clusterdns top --by client --once -o json\n" +
			"  clusterdns top --server 127.0.0.1:8053",
		Annotations: map[string]string{"exit status": "0; 1 if no server could be asked; 2 for a mistake on the command line."},
		Args:        cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// What libraries log would stand in the middle of the screen.
			clog.SetOutput(io.Discard)
			return o.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), explain)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.namespace, "namespace", "n", "kube-system", "the `NAMESPACE` of the servers")
	f.StringVarP(&o.selector, "selector", "l", "k8s-app=kube-dns", "the `LABELS` of the servers' pods")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "the kubeconfig `FILE`; without it $KUBECONFIG, ~/.kube/config, or the pod's account")
	f.StringVar(&o.context, "context", "", "the `CONTEXT` in it")
	f.StringArrayVar(&o.servers, "server", nil, "the `ADDRESS` of a server's console, in the place of pods; may be repeated")
	f.StringVar(&o.dns, "dns", "", "the `ADDRESS` that explain asks with --server")
	f.IntVar(&o.consolePort, "port", defaultPort(), "the `PORT` of the console in pods")
	f.IntVar(&o.metrics, "metrics-port", 9153, "the `PORT` of prometheus, for quantiles of latency; 0 leaves them out")
	f.StringVar(&o.by, "by", "name", "the `TABLE` to begin with: name, client, nxdomain, namespace or rcode")
	f.BoolVar(&o.once, "once", false, "write one snapshot and end; also where the output is no terminal")
	f.StringVarP(&o.output, "output", "o", "text", "the `FORMAT` of --once: text or json")
	f.IntVar(&o.rows, "rows", 20, "how many rows --once writes of a table as text, a `NUMBER`")
	f.DurationVar(&o.interval, "interval", 2*time.Second, "the `TIME` between two snapshots")
	for flag, words := range map[string][]string{"by": byWords(), "output": {"text", "json"}} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

// defaultPort is that of a console whose Corefile says nothing else.
func defaultPort() int {
	return int(netip.MustParseAddrPort(console.DefaultAddr).Port())
}

// isTerminal reports whether f, standard input or output, is one.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

func byWords() (list []string) {
	for _, v := range views {
		list = append(list, v.by)
	}
	return list
}

// mistake is one on the command line.
type mistake struct{ error }

func (mistake) ExitCode() int { return 2 }

// check returns the view that is asked for, or what is wrong with the flags.
func (o *options) check() (view int, err error) {
	view = viewBy(o.by)
	switch {
	case view < 0:
		err = fmt.Errorf("--by %q is none of %v", o.by, byWords())
	case o.output != "text" && o.output != "json":
		err = fmt.Errorf("--output %q is neither text nor json", o.output)
	case o.output == "json" && !o.once:
		err = errors.New("--output json goes with --once")
	case o.consolePort < 1 || o.consolePort > 65535:
		err = fmt.Errorf("--port %d is no port", o.consolePort)
	case o.metrics < 0 || o.metrics > 65535:
		err = fmt.Errorf("--metrics-port %d is no port", o.metrics)
	case o.rows < 0:
		err = fmt.Errorf("--rows %d is no number of rows", o.rows)
	case o.interval < time.Second: // a server's report is as old as that
		err = fmt.Errorf("--interval %v is less than a second", o.interval)
	}
	if err != nil {
		return 0, mistake{err}
	}
	return view, nil
}

func (o *options) run(ctx context.Context, in io.Reader, out io.Writer, explain Explain) error {
	view, err := o.check()
	if err != nil {
		return err
	}
	p := &poller{metricsPort: o.metrics, pods: &podNames{known: map[string]podName{}}}
	if len(o.servers) == 0 || o.kubeconfig != "" || o.context != "" {
		cluster, err := newCluster(o.kubeconfig, o.context)
		if err != nil {
			return err
		}
		defer cluster.close()
		p.pods.cluster = cluster
		p.find = func(ctx context.Context) ([]server, error) {
			return cluster.servers(ctx, o.namespace, o.selector, o.consolePort)
		}
	}
	if len(o.servers) > 0 {
		var list []server
		for _, arg := range o.servers {
			s, err := parseServer(arg)
			if err != nil {
				return mistake{err}
			}
			list = append(list, s)
		}
		p.find = func(context.Context) ([]server, error) { return list, nil }
	}
	if o.once || !isTerminal(in) || !isTerminal(out) {
		s, err := p.poll(ctx)
		if err != nil {
			return err
		}
		return o.write(out, &s, view)
	}
	u := &ui{ctx: ctx, poll: p.poll, interval: o.interval, explain: func(ctx context.Context, name string) string {
		return explain(ctx, o.explainArgs(name))
	}}
	u.view = view
	_, err = tea.NewProgram(u, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out)).Run()
	return err
}

// write writes one snapshot. It is an error if no server has a part in it.
func (o *options) write(out io.Writer, s *Snapshot, view int) error {
	var failed []error
	for _, server := range s.Servers {
		if server.Error == "" {
			failed = nil
			break
		}
		failed = append(failed, errors.New(server.Error))
	}
	if o.output == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(s); err != nil {
			return err
		}
	} else if failed == nil {
		if err := writeText(out, s, view, o.rows); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// explainArgs are the arguments of explain for a name. Strangers choose names:
// one that begins like a flag is none.
func (o *options) explainArgs(name string) []string {
	if len(o.servers) > 0 && o.dns != "" {
		return []string{"--server", o.dns, "--", name}
	}
	args := []string{"--kubeconfig", o.kubeconfig}
	if o.kubeconfig == "" {
		args[1] = clientcmd.NewDefaultClientConfigLoadingRules().GetDefaultFilename()
	}
	if o.context != "" {
		args = append(args, "--context", o.context)
	}
	return append(args, "--", name)
}
