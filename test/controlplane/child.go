package controlplane

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
)

// StartChild starts a command that ends with this process: on Linux the kernel
// kills it if this process dies without doing so. An interrupt typed at the
// terminal does not reach it. The channel receives how the command ended, and is
// closed; the command's Wait must not be called.
func StartChild(cmd *exec.Cmd) (<-chan error, error) {
	cmd.SysProcAttr = sysProcAttr()
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		// The kernel sends the parent-death signal when the thread that
		// forked ends, not when the whole parent does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
			close(ended)
		}
	}()
	return ended, <-started
}

// FreePorts returns n different ports that nobody has on any address of this
// machine, neither of UDP nor of TCP. CoreDNS would share a port that another
// CoreDNS has (SO_REUSEPORT), and half of the questions with it. They are below
// those that the control plane chooses, and below those that the kernel gives to
// clients.
func FreePorts(n int) ([]string, error) {
	var ports []string
	for tries := 0; len(ports) < n; tries++ {
		if tries > 100+10*n {
			return nil, fmt.Errorf("looking for free ports: found %d of %d", len(ports), n)
		}
		if port := strconv.Itoa(10000 + nextPort()); portFree(port) {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

// ports is the order, this process's own, in which it gives ports, and none twice:
// nobody may have one for a while that was given.
var (
	ports     = rand.Perm(10000)
	portsUsed atomic.Uint32
)

func nextPort() int { return ports[int(portsUsed.Add(1))%len(ports)] }

func portFree(port string) bool {
	tcp, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return false
	}
	udp, err := net.ListenPacket("udp", ":"+port)
	if err == nil {
		err = udp.Close()
	}
	return errors.Join(err, tcp.Close()) == nil
}
