// Package controlplane runs a real Kubernetes control plane for tests: etcd,
// kube-apiserver, kube-controller-manager and kube-scheduler, with kwok in the
// place of kubelets. All five are subcommands of one binary, kubetest, built
// by the go command from this module, so nothing has to be installed.
//
// Vocabulary: a control plane is five parts; a part is one process, with its
// command line and its log. Every part listens on loopback only, on ports
// that are chosen when the control plane starts and then kept, so that a
// client of a part that is killed and started again reconnects.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Options says what Start starts. The zero value is a whole control plane in
// a temporary folder.
type Options struct {
	// DataDir holds etcd's data, keys, certificates, kubeconfig and logs. It
	// is made if missing and kept by Stop; a control plane started on it
	// later finds the objects and credentials of the earlier one. If empty,
	// a temporary folder is used and Stop removes it.
	DataDir string

	// APIServerArgs are flags added to the API server's own, for instance
	// "--feature-gates=WatchList=false" for an API server that only knows
	// plain lists.
	APIServerArgs []string

	// APIOnly leaves the controller manager, the scheduler and kwok down.
	// Their parts can be started later.
	APIOnly bool

	// Binary is a kubetest that is already built. If empty, Build makes it.
	Binary string
}

// ControlPlane is one running cluster. Its methods and those of its parts
// may be called from several goroutines.
type ControlPlane struct {
	Etcd              *Part
	APIServer         *Part
	ControllerManager *Part
	Scheduler         *Part
	Kwok              *Part

	dir       string
	temporary bool // dir is ours to remove
	etcdURL   string
	host, url string // of the API server: host is "127.0.0.1:port"
	token     string
}

// startLimit bounds the time a part may take to get ready. The API server
// needs 3 s on two idle cores, and more on cores that others compile on.
const startLimit = 5 * time.Minute

// Start starts a control plane and returns when its API server is ready and
// holds the default namespaces. The context bounds the start, not the life of
// what was started: that ends with Stop or, on Linux, with this process. If
// Start fails, nothing is left running.
func Start(ctx context.Context, opts Options) (*ControlPlane, error) {
	binary := opts.Binary
	if binary == "" {
		var err error
		if binary, err = Build(ctx); err != nil {
			return nil, err
		}
	}
	c, err := prepare(opts, binary)
	if err != nil {
		return nil, fmt.Errorf("preparing control plane: %w", err)
	}
	parts := c.parts()
	if opts.APIOnly {
		parts = parts[:2]
	}
	for _, p := range parts {
		if err := p.Start(ctx); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
	}
	return c, nil
}

// parts returns all parts in the order in which they are started.
func (c *ControlPlane) parts() []*Part {
	return []*Part{c.Etcd, c.APIServer, c.ControllerManager, c.Scheduler, c.Kwok}
}

// Stop kills whatever still runs, the last started first, and removes the
// data folder if it is a temporary one. A kept folder stays usable: etcd's
// log survives a SIGKILL, only a power cut could hurt it.
func (c *ControlPlane) Stop() error {
	var errs []error
	parts := c.parts()
	for i := len(parts) - 1; i >= 0; i-- {
		errs = append(errs, parts[i].Kill())
	}
	if c.temporary {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stopping control plane: %w", err)
	}
	return nil
}

// prepare makes the folder and everything in it that the parts read, and
// chooses the ports.
func prepare(opts Options, binary string) (*ControlPlane, error) {
	c := &ControlPlane{dir: opts.DataDir}
	if c.dir == "" {
		dir, err := os.MkdirTemp("", "kubetest-")
		if err != nil {
			return nil, err
		}
		c.dir, c.temporary = dir, true
	}
	if err := c.fill(opts, binary); err != nil {
		if c.temporary {
			err = errors.Join(err, os.RemoveAll(c.dir))
		}
		return nil, err
	}
	return c, nil
}

// fill does prepare's work inside the folder, which the caller owns.
func (c *ControlPlane) fill(opts Options, binary string) error {
	var err error
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return err
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	etcd, err := freeAddr()
	if err != nil {
		return err
	}
	etcdPeer, err := freeAddr()
	if err != nil {
		return err
	}
	if c.host, err = freeAddr(); err != nil {
		return err
	}
	c.etcdURL, c.url = "http://"+etcd, "https://"+c.host
	if err := c.writeFiles(); err != nil {
		return err
	}
	c.Etcd = c.part(binary, "etcd", c.etcdArgs("http://"+etcdPeer), c.etcdReady)
	c.APIServer = c.part(binary, "kube-apiserver", append(c.apiServerArgs(), opts.APIServerArgs...), c.apiServerReady)
	c.ControllerManager = c.part(binary, "kube-controller-manager", c.controllerManagerArgs(), nil)
	c.Scheduler = c.part(binary, "kube-scheduler", c.schedulerArgs(), nil)
	c.Kwok = c.part(binary, "kwok", c.kwokArgs(), nil)
	return nil
}

func (c *ControlPlane) part(binary, name string, args []string, ready func(context.Context) error) *Part {
	return &Part{
		Name:    name,
		Args:    args,
		LogFile: c.path(name + ".log"),
		binary:  binary,
		dir:     c.dir,
		ready:   ready,
	}
}

// path returns the path of a file in the data folder.
func (c *ControlPlane) path(name string) string { return filepath.Join(c.dir, name) }
