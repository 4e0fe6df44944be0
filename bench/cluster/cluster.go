// Package cluster runs an API server that holds a world, with the control plane
// of test/controlplane: its command kubetest, because the two modules need
// different versions of Kubernetes' libraries. A world is created once and kept
// as etcd's data in the user's cache folder.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/clusterdns/clusterdns/bench/peer"
	"github.com/clusterdns/clusterdns/bench/world"
)

// Cluster is an API server and its etcd.
type Cluster struct {
	Client *kubernetes.Clientset

	config    *rest.Config
	dir       string
	up        *peer.Process // kubetest, parent of the first API server
	apiServer apiServer
}

// apiServer is how the API server is started again, and who it is.
type apiServer struct {
	argv []string
	pid  int           // of the one that kubetest started; 0 once it was killed
	own  *peer.Process // the one that we started; nil before
}

// startLimit bounds what is waited for.
const startLimit = 2 * time.Minute

// Start starts an API server on a copy of the world's data, which it creates
// first if the cache has none. Work is a folder for the copy and for logs, cpus
// the cores for it, as taskset has them; while a world is created it may use
// all.
func Start(ctx context.Context, kubetest string, w *world.World, version, work, cpus string) (*Cluster, error) {
	data, err := created(ctx, kubetest, w, version, work)
	if err != nil {
		return nil, fmt.Errorf("creating world %s: %w", w.Name, err)
	}
	dir := filepath.Join(work, "cluster")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-a", data, dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copying world %s: %w\n%s", w.Name, err, out)
	}
	c, err := up(ctx, kubetest, dir, cpus)
	if err != nil {
		return nil, fmt.Errorf("starting world %s: %w", w.Name, err)
	}
	return c, nil
}

// created returns the folder in the cache that has the world.
func created(ctx context.Context, kubetest string, w *world.World, version, work string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "clusterdns", "bench", fmt.Sprintf("%s-rules%d-%s", w.Name, world.Rules, version))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return "", err
	}
	c, err := up(ctx, kubetest, part, AllCPUs)
	if err != nil {
		return "", err
	}
	if err := errors.Join(create(ctx, c.Client, w), c.Stop()); err != nil {
		return "", err
	}
	return dir, os.Rename(part, dir)
}

// AllCPUs is every core there is, for taskset.
const AllCPUs = "0-1023"

func up(ctx context.Context, kubetest, dir, cpus string) (*Cluster, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	log := filepath.Join(dir, "kubetest.log")
	if err := os.RemoveAll(log); err != nil {
		return nil, err
	}
	p, err := peer.Run(log, dir, nil, "taskset", "-c", cpus, kubetest, "up", "-api-only", "-nodes", "0", "-data", dir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, up: p}
	if err := c.connect(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// connect waits for kubetest to say where the API server is.
func (c *Cluster) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var kubeconfig string
	err := c.up.Wait(ctx, 20*time.Millisecond, "the API server", func() error {
		for line := range strings.Lines(c.up.Logged()) {
			if file, ok := strings.CutPrefix(strings.TrimSpace(line), "export KUBECONFIG="); ok {
				kubeconfig = file
				return nil
			}
		}
		return errors.New("kubetest has named no kubeconfig")
	})
	if err != nil {
		return err
	}
	if c.config, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
		return fmt.Errorf("kubeconfig of kubetest: %w", err)
	}
	c.config.QPS = -1
	c.config.ContentType = "application/vnd.kubernetes.protobuf"
	if c.Client, err = kubernetes.NewForConfig(c.config); err != nil {
		return fmt.Errorf("kubeconfig of kubetest: %w", err)
	}
	children, err := peer.Children(c.up.PID)
	if err != nil {
		return err
	}
	for pid, argv := range children {
		if len(argv) > 1 && argv[1] == "kube-apiserver" {
			c.apiServer = apiServer{argv: argv, pid: pid}
			return nil
		}
	}
	return fmt.Errorf("kubetest has no API server among its children: %v", children)
}

// API returns what a pod of the cluster finds of the API server.
func (c *Cluster) API() (*peer.API, error) {
	u, err := url.Parse(c.config.Host)
	if err != nil {
		return nil, fmt.Errorf("address of the API server: %w", err)
	}
	return &peer.API{Host: u.Hostname(), Port: u.Port(), Token: c.config.BearerToken, CA: c.config.CAFile}, nil
}

// KillAPIServer ends the API server at once, as the kernel ends one that is out
// of memory. It does nothing if the API server is down.
func (c *Cluster) KillAPIServer() error {
	a := &c.apiServer
	if a.own != nil {
		return a.own.Kill()
	}
	if a.pid == 0 {
		return nil
	}
	if err := syscall.Kill(a.pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing the API server: %w", err)
	}
	// Kubetest is its parent and reaps it; its port is free then.
	for deadline := time.Now().Add(10 * time.Second); syscall.Kill(a.pid, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("the API server, process %d, has not ended after SIGKILL", a.pid)
		}
	}
	a.pid = 0 // somebody else's from now on
	return nil
}

// StartAPIServer starts the API server that was killed again, on the same cores
// as before, and returns when it is ready.
func (c *Cluster) StartAPIServer(ctx context.Context, cpus string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	argv := append([]string{"taskset", "-c", cpus}, c.apiServer.argv...)
	var err error
	if c.apiServer.own, err = peer.Run(filepath.Join(c.dir, "kube-apiserver-again.log"), c.dir, nil, argv...); err != nil {
		return err
	}
	return c.apiServer.own.Wait(ctx, 20*time.Millisecond, "the API server to be ready again", func() error {
		if err := c.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
			return err
		}
		_, err := c.Client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
		return err
	})
}

// Stop ends all of it. The data stays.
func (c *Cluster) Stop() error {
	var errs []error
	if c.apiServer.own != nil {
		errs = append(errs, c.apiServer.own.Kill())
	}
	return errors.Join(append(errs, c.up.Stop())...)
}

// Pause stops API server and etcd where they are, so that they use nothing, and
// returns what has them go on. Whoever follows the API server calls it silent after
// some seconds.
func (c *Cluster) Pause() (resume func() error, err error) {
	children, err := peer.Children(c.up.PID)
	if err != nil {
		return nil, err
	}
	pids := []int{c.up.PID}
	for pid := range children {
		pids = append(pids, pid)
	}
	if c.apiServer.own != nil {
		pids = append(pids, c.apiServer.own.PID)
	}
	signal := func(s syscall.Signal) (err error) {
		for _, pid := range pids {
			if one := syscall.Kill(pid, s); one != nil {
				err = errors.Join(err, fmt.Errorf("sending %v to process %d of the control plane: %w", s, pid, one))
			}
		}
		return err
	}
	resume = func() error { return signal(syscall.SIGCONT) }
	if err := signal(syscall.SIGSTOP); err != nil {
		return nil, errors.Join(err, resume())
	}
	return resume, nil
}
