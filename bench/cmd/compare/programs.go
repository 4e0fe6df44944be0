package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/clusterdns/clusterdns/bench/peer"
	"github.com/clusterdns/clusterdns/bench/results"
)

// debian are the programs that are not ours to build.
var debian = map[string]string{results.NSD: "nsd", results.Knot: "knotd", "dnsperf": "dnsperf"}

// findPrograms finds every program the plan needs, before anything is started,
// and notes versions.
func (r *runner) findPrograms() error {
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
	if r.plan.debian {
		if err := r.findDebian(); err != nil {
			return err
		}
	}
	ours := map[string]string{"dnsload": "dnsload"}
	if !r.plan.manifest {
		ours["kubetest"] = "kubetest"
	}
	for _, name := range r.plan.everyone() {
		switch name {
		case results.Ours, results.Chain, results.Console, results.Kernel:
			ours[name] = "clusterdns"
		case results.Echo:
			ours[name] = "echo"
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
	for _, name := range without(r.plan.everyone(), results.Echo) {
		version, err := peer.Version(name, r.programs[name])
		if err != nil {
			return err
		}
		r.res.Versions[name] = version
	}
	return nil
}

// findDebian finds what is Debian's. It installs nothing.
func (r *runner) findDebian() error {
	var missing []string
	for name, program := range debian {
		path, err := lookPath(program)
		if err != nil {
			missing = append(missing, program)
		}
		r.programs[name] = path
	}
	if missing != nil {
		slices.Sort(missing)
		return fmt.Errorf("missing: %s; as root on Debian, make bench-packages installs them", strings.Join(missing, ", "))
	}
	if out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", "dnsperf").Output(); err == nil { // it does not say itself
		r.res.Versions["dnsperf"] = string(out)
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

// kubetestVersion tells worlds apart that were created by different versions of
// Kubernetes.
func (r *runner) kubetestVersion() (string, error) {
	file := filepath.Join(r.repo, "test", "controlplane", "go.mod")
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("version of the control plane: %w", err)
	}
	mod, err := modfile.ParseLax(file, text, nil)
	if err != nil {
		return "", fmt.Errorf("version of the control plane: %w", err)
	}
	for _, r := range mod.Require {
		if r.Mod.Path == "k8s.io/kubernetes" {
			return r.Mod.Version, nil
		}
	}
	return "", fmt.Errorf("version of the control plane: %s does not require k8s.io/kubernetes", file)
}
