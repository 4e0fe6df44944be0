package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// systemFaults are those of the kernel that the servers run on.
var systemFaults = []fault{
	{name: "clock set an hour ahead, then two hours back, watches cut", meet: func(tr *trial) {
		for _, by := range []time.Duration{time.Hour, -time.Hour} {
			for _, p := range tr.taking() {
				tr.must(setClock(p.proc.Pid, by))
			}
			tr.between.cut()
			tr.hold(during(20*time.Second, 3*time.Second))
			tr.clockIsNoLoss(by)
		}
	}},
	{name: "file descriptors used up by TCP clients, API server restarted (asked over UDP)", long: true, stanza: direct, networks: []string{"udp"}, meet: (*trial).useUpDescriptors},
	{name: "disk of the snapshot full, then read-only", long: true, prepare: onSmallDisk, stanza: direct, meet: (*trial).loseDisk},
	{name: "100,000 pods listed again within 170 MiB", long: true, patient: 3 * time.Minute, prepare: within170, stanza: func(tr *trial) []string {
		return append(direct(tr), "pods verified")
	}, meet: func(tr *trial) {
		tr.kill(tr.T)
		tr.outage.start(tr.T)
		tr.listed(2)
		tr.Logf("clusterdns at its most: %s", mostMemory(tr.peers[0].proc.Pid))
	}},
}

// clockIsNoLoss requires that clusterdns, whose clock was set, does not take its feeds
// for lost, and that its metrics tell of recent contact by its clock.
func (tr *trial) clockIsNoLoss(by time.Duration) {
	tr.Helper()
	p := tr.peers[0]
	wait(tr.T, "contact", func() error {
		now := float64(time.Now().Add(by).Unix())
		if contact := p.metric(tr.T, "coredns_clusterdns_last_contact_timestamp_seconds", `resource="services"`); contact < now-60 || contact > now+1 {
			return fmt.Errorf("last contact at %.0f, and it is %.0f", contact, now)
		}
		logged := p.logged()
		if lost := strings.LastIndex(logged, "Lost services"); lost >= 0 && !strings.Contains(logged[lost:], "Following services") {
			return errors.New("it takes services for lost")
		}
		return nil
	})
}

// useUpDescriptors has the servers run out of file descriptors, and the API server
// come and go meanwhile.
func (tr *trial) useUpDescriptors() {
	const spare = 8
	var conns []net.Conn
	for _, p := range tr.taking() {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.proc.Pid))
		tr.must(err)
		n := uint64(len(open) + spare)
		tr.must(unix.Prlimit(p.proc.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n}, nil))
		for range 10 * spare {
			conn, err := net.Dial("tcp", p.addr)
			tr.must(err)
			conns = append(conns, conn)
		}
	}
	tr.kill(tr.T)
	tr.hold(during(20*time.Second, 3*time.Second))
	tr.outage.start(tr.T)
	for _, conn := range conns {
		conn.Close()
	}
}

// onSmallDisk has clusterdns keep a snapshot on a disk of its own, which nobody else
// sees.
func onSmallDisk(tr *trial, c *config) {
	if c.program.binary != "" {
		return
	}
	c.stanza = append(c.stanza, "snapshot "+tr.files)
	c.program.prepare = func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs -o size=256k,mode=700 none "$0" && exec "$@"`, tr.files, cmd.Path}, cmd.Args[1:]...)
		path, err := exec.LookPath("unshare")
		tr.must(err)
		cmd.Path = path
	}
}

// loseDisk fills the disk, and then makes it read-only. A save fails each time.
func (tr *trial) loseDisk() {
	p := tr.peers[0]
	saved := func(metric string, more float64) {
		before := p.metric(tr.T, metric)
		tr.change()
		for deadline := time.Now().Add(3 * time.Minute); p.metric(tr.T, metric) < before+more; tr.hold(time.Second) {
			if time.Now().After(deadline) {
				tr.Fatalf("%s is %v", metric, p.metric(tr.T, metric))
			}
		}
	}
	const failed = "coredns_clusterdns_snapshot_save_errors_total"
	wait(tr.T, "a snapshot", func() error {
		if p.metric(tr.T, "coredns_clusterdns_snapshot_saves_total") == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	filler := fmt.Sprintf("/proc/%d/root%s/filler", p.proc.Pid, tr.files)
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		tr.Fatalf("filling the disk: %v", err)
	}
	saved(failed, 1)
	tr.must(os.Remove(filler))
	saved("coredns_clusterdns_snapshot_saves_total", 1)
	if out, err := exec.Command("nsenter", "--target", strconv.Itoa(p.proc.Pid), "--mount", "mount", "-o", "remount,ro", tr.files).CombinedOutput(); err != nil {
		tr.Fatalf("making the disk read-only: %v: %s", err, out)
	}
	saved(failed, 1)
}

// within170 has the server start in a cgroup as kubeadm's manifest has it, in a
// cluster of 100,000 pods.
func within170(tr *trial, c *config) {
	if tr.besides == nil {
		tr.besides = tr.fillPods(tr.T, 100_000)
	}
	c.program.prepare = tr.cgroup(170 << 20)
}

// cgroup makes a cgroup with a limit of memory, and returns what has a command run
// in it.
func (tr *trial) cgroup(limit int) func(*exec.Cmd) {
	tr.Helper()
	parent, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes" // version 1
	if controllers, err := os.ReadFile("/sys/fs/cgroup/cgroup.subtree_control"); err == nil && strings.Contains(string(controllers), "memory") {
		parent, file = "/sys/fs/cgroup", "memory.max"
	}
	dir, err := os.MkdirTemp(parent, "clusterdns-")
	if os.IsPermission(err) || os.IsNotExist(err) {
		tr.Skipf("no permission to make a cgroup: %v", err)
	}
	tr.must(err)
	tr.Cleanup(func() { os.Remove(dir) }) // the processes in it have ended
	tr.must(os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(limit)), 0o600))
	return func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(dir, "cgroup.procs"), cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
	}
}

// mostMemory is the most that a process ever had, as the kernel puts it.
func mostMemory(pid int) string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err.Error()
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}
