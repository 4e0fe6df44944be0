package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/clusterdns/clusterdns/bench/peer"
	"github.com/clusterdns/clusterdns/bench/results"
)

// debian maps the programs that are not ours to build to their packages.
var debian = map[string]string{"nsd": "nsd", "knotd": "knot", "dnsperf": "dnsperf"}

// findPrograms finds every program the plan needs, before anything is started,
// installs what is missing if it may, and notes versions.
func (r *runner) findPrograms(ctx context.Context) error {
	r.programs = map[string]string{}
	tools := []string{"taskset"}
	if !r.plan.manifest {
		tools = append(tools, "unshare", "cp")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing (Debian packages util-linux, coreutils)", tool)
		}
	}
	if r.plan.perf {
		if err := r.findDebian(ctx); err != nil {
			return err
		}
	}
	ours := map[string]string{"dnsload": "dnsload"}
	if !r.plan.manifest {
		ours["kubetest"] = "kubetest"
	}
	for _, name := range r.plan.peers {
		switch name {
		case results.Ours, results.Chain:
			ours[name] = "clusterdns"
		case results.CoreDNS, results.CoreDNSCache:
			ours[name] = "coredns"
		}
	}
	for name, file := range ours {
		path := filepath.Join(r.bin, file)
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%w: the Makefile's bench targets build it", err)
		}
		r.programs[name] = path
	}
	var err error
	if r.lane, err = peer.HasFastLane(r.programs[results.Chain], r.work); err != nil {
		return err
	}
	for _, name := range r.peers() {
		if r.res.Versions[name], err = peer.Version(name, r.programs[name]); err != nil {
			return err
		}
	}
	r.res.Versions["load"] = "dnsload, closed loop"
	if r.plan.perf {
		r.res.Versions["load"] = "throughput with dnsperf, 64 sockets, 200 in flight (TCP: 64 connections of 16); answers checked and latency with dnsload"
	}
	return nil
}

func (r *runner) findDebian(ctx context.Context) error {
	missing := missingPrograms()
	if len(missing) > 0 {
		if err := install(ctx, missing); err != nil {
			return err
		}
		if missing = missingPrograms(); len(missing) > 0 {
			return fmt.Errorf("installed, and still missing: %v", missing)
		}
	}
	for name, program := range map[string]string{results.NSD: "nsd", results.Knot: "knotd", "dnsperf": "dnsperf"} {
		r.programs[name], _ = lookPath(program)
	}
	return nil
}

// lookPath also looks where users have servers from but not in their PATH.
func lookPath(program string) (string, error) {
	path, err := exec.LookPath(program)
	if errors.Is(err, exec.ErrNotFound) {
		return exec.LookPath("/usr/sbin/" + program)
	}
	return path, err
}

func missingPrograms() (packages []string) {
	for program, name := range debian {
		if _, err := lookPath(program); err != nil {
			packages = append(packages, name)
		}
	}
	return packages
}

// policy is where Debian's packages ask whether they may start their servers.
const policy = "/usr/sbin/policy-rc.d"

// install installs Debian packages without starting the servers in them.
func install(ctx context.Context, packages []string) (err error) {
	apt, aptErr := exec.LookPath("apt-get")
	if os.Getuid() != 0 || aptErr != nil {
		return fmt.Errorf("missing, and only root on Debian can have them installed here: %s", strings.Join(packages, " "))
	}
	f, err := os.OpenFile(policy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	switch {
	case err == nil:
		defer func() { err = errors.Join(err, os.Remove(policy)) }()
		_, err := f.WriteString("#!/bin/sh\nexit 101\n")
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist): // with a policy of its own, the machine decides
		return err
	}
	args := append([]string{"install", "-y", "--no-install-recommends"}, packages...)
	for _, args := range [][]string{{"update"}, args} {
		cmd := exec.CommandContext(ctx, apt, args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// kubetestVersion tells worlds apart that were created by different versions of
// Kubernetes.
func (r *runner) kubetestVersion() (string, error) {
	mod, err := os.ReadFile(filepath.Join(r.repo, "test", "controlplane", "go.mod"))
	if err != nil {
		return "", fmt.Errorf("version of the control plane: %w", err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(mod))[:12], nil
}
