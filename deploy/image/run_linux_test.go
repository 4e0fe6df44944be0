package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	user = 65532
	// limit bounds whatever is waited for, on a machine that does other things.
	limit = time.Minute

	rootEnv  = "IMAGE_TEST_ROOT" // the process is to become a container with this root
	capsEnv  = "IMAGE_TEST_CAPABILITIES"
	portsEnv = "IMAGE_TEST_UNPRIVILEGED_PORT_START"
)

// Capabilities, as a process's status has them.
const (
	netBind    = 1 << unix.CAP_NET_BIND_SERVICE
	kernelLane = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON
)

const corefile = `.:53 {
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        manifests /etc/coredns/cluster
    }
}
`

// TestRun unpacks the image and runs it as a container runtime does where the
// pod has allowPrivilegeEscalation: false and a read-only root file system: as
// user 65532, with no_new_privs and the capabilities that the pod adds to none,
// permitted and effective but not ambient. It is asked on port 53.
func TestRun(t *testing.T) {
	byBinary := unpack(t)
	for _, test := range []struct {
		name      string
		command   string
		add       uint64 // of capabilities: {drop: [ALL], add: ...}
		portStart string // net.ipv4.ip_unprivileged_port_start
		mayBind   bool
		effective uint64 // CapEff
	}{
		{"capability", "/clusterdns", netBind, "1024", true, netBind},
		{"sysctl", "/coredns", 0, "0", true, 0},
		{"both", "/coredns", netBind, "0", true, netBind},
		{"neither", "/clusterdns", 0, "1024", false, 0},
		{"lane in the kernel", "/clusterdns", netBind | kernelLane, "1024", true, netBind | kernelLane},
		{"one more than it uses", "/clusterdns", netBind | 1<<unix.CAP_SYS_PTRACE, "1024", true, netBind},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := startContainer(t, byBinary, test.command, test.add, test.portStart)
			if !test.mayBind {
				select {
				case <-c.exited:
				case <-time.After(limit):
					t.Fatal("it has not ended")
				}
				if log := c.log.String(); !strings.Contains(log, "bind: permission denied") {
					t.Errorf("it ended for another reason: %v\n%s", c.err, log)
				}
				return
			}
			c.waitFor(t, "udp")
			c.waitFor(t, "tcp")
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"Uid:\t65532\t65532\t65532\t65532", "NoNewPrivs:\t1", fmt.Sprintf("CapBnd:\t%016x", test.add), fmt.Sprintf("CapEff:\t%016x", test.effective), "CapAmb:\t0000000000000000"} {
				if !strings.Contains(string(status), want) {
					t.Errorf("its status has no line %q:\n%s", want, status)
				}
			}
			if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			<-c.exited
			if c.err != nil {
				t.Errorf("it ended: %v", c.err)
			}
			if log := c.log.String(); !strings.Contains(log, "clusterdns-"+testVersion+" (CoreDNS-") || !strings.Contains(log, "ast lane") || strings.Contains(log, "No fast lane") {
				t.Errorf("its log lacks version or fast lane:\n%s", log)
			}
		})
	}
}

// unpack writes the image for this machine to a folder, with the extended
// attributes, and adds what a pod mounts. Files belong to root.
func unpack(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it takes root to unpack an image and to make its namespaces")
	}
	_, byArch := images(t, theImage(t).dir)
	image := byArch["linux/"+runtime.GOARCH]
	if image == nil {
		t.Skipf("there is no image for %s", runtime.GOARCH)
	}
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	files := contents(t, image)
	for name, f := range files {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch f.header.Typeflag {
		case tar.TypeDir:
			err = errors.Join(err, os.MkdirAll(path, 0o755))
		case tar.TypeSymlink:
			err = errors.Join(err, os.Symlink(f.header.Linkname, path))
		default:
			err = errors.Join(err, os.WriteFile(path, f.content, f.header.FileInfo().Mode().Perm()))
		}
		for key, value := range f.header.PAXRecords {
			if attribute, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
				err = errors.Join(err, unix.Lsetxattr(path, attribute, []byte(value), 0))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(
		os.Mkdir(filepath.Join(root, "proc"), 0o555),
		os.CopyFS(filepath.Join(root, "etc/coredns/cluster"), os.DirFS("../../corefile-examples/quickstart/cluster")),
		os.WriteFile(filepath.Join(root, "etc/coredns/Corefile"), []byte(corefile), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// running is the image's command in a network and a mount namespace of its own.
type running struct {
	cmd    *exec.Cmd
	log    bytes.Buffer
	exited chan struct{}
	err    error // read after exited, as is log
}

func startContainer(t *testing.T, root, command string, add uint64, portStart string) *running {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &running{cmd: exec.Command(self, command, "-conf", "/etc/coredns/Corefile"), exited: make(chan struct{})}
	c.cmd.Env = []string{rootEnv + "=" + root, capsEnv + "=" + strconv.FormatUint(add, 10), portsEnv + "=" + portStart}
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	err = c.cmd.Start()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("no permission to make namespaces (run as root, with CAP_SYS_ADMIN)")
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.exited)
	}()
	t.Cleanup(func() {
		c.cmd.Process.Kill()
		<-c.exited
	})
	return c
}

// waitFor asks for a name of the example cluster until there is an answer.
func (c *running) waitFor(t *testing.T, network string) {
	t.Helper()
	resolver := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return c.dial(network) }}
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		addrs, err := resolver.LookupHost(ctx, "web.shop.svc.cluster.local.")
		cancel()
		if err == nil {
			if len(addrs) != 1 || addrs[0] != "10.96.0.10" {
				t.Errorf("over %s: %v", network, addrs)
			}
			return
		}
		select {
		case <-c.exited:
			t.Fatalf("it has ended: %v\n%s", c.err, c.log.String())
		case <-tick.C:
		}
		if time.Now().After(deadline) {
			t.Fatalf("no answer over %s: %v", network, err)
		}
	}
}

// dial connects to port 53 in the container's network namespace, on a thread
// that ends with it.
func (c *running) dial(network string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		var ns *os.File
		if ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", c.cmd.Process.Pid)); err != nil {
			return
		}
		defer ns.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			conn, err = net.Dial(network, "127.0.0.1:53")
		}
	}()
	<-done
	return conn, err
}

// beContainer does what a container runtime does between the clone and the
// exec, if the environment says so.
func beContainer() {
	root := os.Getenv(rootEnv)
	if root == "" {
		return
	}
	runtime.LockOSThread() // credentials are a thread's
	fmt.Fprintln(os.Stderr, "starting a container:", become(root))
	os.Exit(1)
}

func become(root string) error {
	keep, err := strconv.ParseUint(os.Getenv(capsEnv), 10, 64)
	if err := errors.Join(
		err,
		loopbackUp(),
		os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte(os.Getenv(portsEnv)), 0),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount(root, root, "", unix.MS_BIND, ""),
		unix.Mount("proc", filepath.Join(root, "proc"), "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		unix.Mount("", root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""),
		unix.Chroot(root),
		unix.Chdir("/"),
	); err != nil {
		return err
	}
	if err := os.WriteFile("/file", nil, 0o600); !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("the root is not read-only: %v", err)
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if keep>>c&1 != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL { // not of this kernel
			return fmt.Errorf("dropping capability %d: %w", c, err)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	low, high := uint32(keep), uint32(keep>>32)
	data := [2]unix.CapUserData{{Effective: low, Permitted: low}, {Effective: high, Permitted: high}}
	if err := errors.Join(
		unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0),
		unix.Setgroups(nil),
		unix.Setresgid(user, user, user),
		unix.Setresuid(user, user, user),
		unix.Prctl(unix.PR_SET_KEEPCAPS, 0, 0, 0, 0),
		unix.Capset(&header, &data[0]),
		unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
	); err != nil {
		return err
	}
	return syscall.Exec(os.Args[1], os.Args[1:], nil)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
