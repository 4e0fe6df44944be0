// Command kubetest is a Kubernetes control plane in one binary, for tests.
// Each part is a subcommand that takes the part's usual flags; up starts them
// all, and kubectl talks to them. See the package controlplane for use from Go tests.
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics in /metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // build info in /metrics
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// commands maps each subcommand to its main function, which finds its own
// arguments in os.Args and returns the exit status.
var commands = map[string]func() int{
	"etcd":                    func() int { etcdmain.Main(os.Args); return 0 },
	"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) },
	"kube-scheduler":          func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	"kubectl":                 func() int { return cli.Run(kubectl.NewDefaultKubectlCommand()) },
	"kwok":                    kwok,
	"up":                      up,
}

const usage = `usage: kubetest up [-data folder] [-nodes n] [-api-only]
       kubetest etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kwok [flags]
       kubetest kubectl [command]
`

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	os.Args = os.Args[1:]
	os.Exit(commands[os.Args[0]]())
}
