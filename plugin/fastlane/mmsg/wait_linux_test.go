package mmsg

import (
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// steadily has c receive as many datagrams, one by one, as make it wait
// with its P from now on, and for as long as linger.
func steadily(t *testing.T, c *Conn, linger time.Duration) *multi {
	t.Helper()
	s := c.sys.(*multi)
	s.linger, s.slice = time.Hour, time.Hour // however busy the host is
	cl, b := client(t, "127.0.0.1", c), NewBatch(2, 64)
	for range steady {
		send(t, cl, []byte("question"))
		if _, err := c.Recv(b); err != nil {
			t.Fatal(err)
		}
	}
	s.linger, s.slice = linger, linger
	return s
}

// TestWait checks that a Conn that receives steadily waits without a system
// call that the scheduler knows of, that another waits in one, and that what
// it must end for ends both: a datagram, a deadline, Close.
func TestWait(t *testing.T) {
	for _, streak := range []int{steady, 0} {
		c := listen(t, newMulti, "udp", "127.0.0.1:0")
		s := steadily(t, c, time.Hour)
		parks := s.parks.Load()
		cl := client(t, "127.0.0.1", c)
		type result struct {
			n   int
			err error
		}
		results := make(chan result)
		waits := func(looks uint64) {
			t.Helper()
			for start := time.Now(); s.looks.Load() == looks; runtime.Gosched() {
				if time.Since(start) > patience {
					t.Fatal("it does not wait")
				}
			}
		}
		steps := []struct {
			what string
			end  func() error
			want error
		}{
			{"a datagram", func() error { _, err := cl.Write([]byte("question")); return err }, nil},
			{"a deadline in the past", func() error { return c.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
			{"a deadline to come", func() error { return c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) }, os.ErrDeadlineExceeded},
			{"Close", c.Close, net.ErrClosed},
		}
		for _, test := range steps {
			if err := c.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			s.streak = streak
			looks := s.looks.Load()
			go func() {
				n, err := c.Recv(NewBatch(2, 64))
				results <- result{n, err}
			}()
			waits(looks)
			if err := test.end(); err != nil {
				t.Fatal(err)
			}
			select {
			case r := <-results:
				if !errors.Is(r.err, test.want) || r.err == nil && r.n != 1 {
					t.Errorf("%s: Recv returned %d, %v; want %v", test.what, r.n, r.err, test.want)
				}
			case <-time.After(patience):
				t.Fatalf("%s did not end the wait", test.what)
			}
		}
		if n := s.parks.Load() - parks; streak == steady && n > 0 || streak == 0 && n < uint64(len(steps)) {
			t.Errorf("after %d steady waits %d system calls gave the P back", streak, n)
		}
	}
}

// TestPreemption checks that the world can be stopped, and stacks be scanned,
// while a goroutine waits with its P: it would wait for an hour.
func TestPreemption(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1))
	c := listen(t, newMulti, "udp", "127.0.0.1:0")
	s := steadily(t, c, time.Hour)
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	parks := s.parks.Load()
	done := make(chan error)
	go func() {
		_, err := c.Recv(NewBatch(2, 64))
		done <- err
	}()
	for range 20 {
		looks := s.looks.Load()
		runtime.GC() // which waits for the goroutine to be at a safepoint
		for s.looks.Load() == looks {
			runtime.Gosched()
		}
	}
	if n := s.parks.Load(); n != parks {
		t.Errorf("the scheduler took the P %d times", n-parks)
	}
	c.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// TestIdle checks that a Conn that receives nothing gives its P back, once,
// and then does nothing at all, and that datagrams now and then, also two at
// once, do not have it keep its P.
func TestIdle(t *testing.T) {
	c := listen(t, newMulti, "udp", "127.0.0.1:0")
	s := steadily(t, c, time.Millisecond)
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	parks := s.parks.Load()
	received, done := make(chan int), make(chan error)
	go func() {
		for b := NewBatch(2, 64); ; {
			n, err := c.Recv(b)
			if err != nil {
				done <- err
				return
			}
			received <- n
		}
	}()
	parked := func(n uint64) {
		t.Helper()
		for start := time.Now(); s.parks.Load() < n; time.Sleep(time.Millisecond) {
			if time.Since(start) > patience {
				t.Fatalf("it has given its P back %d times, want %d", s.parks.Load(), n)
			}
		}
	}
	parked(parks + 1)
	looks := s.looks.Load()
	for range 5 {
		runtime.GC()
		<-time.After(s.linger) // idle time, of which there is to be nothing to see
	}
	if n := s.looks.Load(); n != looks {
		t.Errorf("%d wake-ups while nothing came", n-looks)
	}
	cl := client(t, "127.0.0.1", c)
	const rounds = 10
	for range rounds {
		at := s.parks.Load()
		for range 2 {
			send(t, cl, []byte("question"))
			<-received
		}
		parked(at + 2)
		<-time.After(3 * s.linger) // the gap between two pairs
	}
	// Each datagram ended one wait, which had no other.
	if n, m := s.looks.Load()-looks, s.parks.Load()-parks-1; n > 3*rounds || n != m {
		t.Errorf("%d pairs: %d system calls to wait, %d of which gave the P back", rounds, n, m)
	}
	c.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
