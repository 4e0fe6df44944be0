//go:build linux && (amd64 || arm64)

package kernel

import (
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReserve keeps a pipe open by a descriptor that is below a socket's, and gives the
// descriptor back, any number of times.
func TestReserve(t *testing.T) {
	for range 2 {
		if err := Reserve(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(reserved.free); n != enoughReserved {
		t.Fatalf("%d are free", n)
	}
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	socket, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for range 2 * enoughReserved {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		low := keepLow(int(w.Fd()))
		if low < 0 || low >= int(socket.Fd()) {
			t.Fatalf("%d is not below the socket's %d", low, socket.Fd())
		}
		w.Close()
		if n, err := unix.Write(low, []byte("x")); n != 1 || err != nil {
			t.Fatalf("it is not the pipe's: %v", err)
		}
		if err := giveBack(low); err != nil {
			t.Fatal(err)
		}
		if n, err := r.Read(make([]byte, 2)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := r.Read(make([]byte, 2)); n != 0 || err == nil { // io.EOF: nobody has it
			t.Fatalf("the pipe is open still: %d, %v", n, err)
		}
		r.Close()
	}
	var low []int
	for range enoughReserved {
		low = append(low, keepLow(int(socket.Fd())))
	}
	if none := keepLow(int(socket.Fd())); none != -1 {
		t.Errorf("%d, of none", none)
	}
	if err := giveBack(-1); err != nil {
		t.Error(err)
	}
	for _, fd := range low {
		if err := giveBack(fd); err != nil {
			t.Error(err)
		}
	}
	if n := len(reserved.free); n != enoughReserved {
		t.Errorf("%d are free at the end", n)
	}
}
