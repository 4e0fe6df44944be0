package fastlane

import (
	"context"
	"fmt"
	"time"
)

// Strangers returns how many UDP sockets more than others, which is how many
// CoreDNS has, are bound to addr: those of another process of the same user.
// On other systems than Linux it is 0.
func Strangers(addr string, others int) int {
	members, err := udpMembers(addr)
	if err != nil {
		return 0
	}
	return max(0, len(members)-others)
}

// handOver has the kernel steer to another process's sockets that stand behind
// ours, so that nothing is lost when ours close, and CoreDNS's after them. It
// reports whether it did: not if there are none.
//
// A socket that closes has the last one take its index, and no program says
// "all but these". So with c CoreDNS's, l ours and f theirs:
//
//	c l l l f   steer to f, behind ours, and wait until the first l is empty
//	c f l l     it closes, and f takes its place. What comes before the next
//	            step is spread by hash over sockets that are all served
//	c f l l     steer to f, where it stays while ours close, behind it
//	f           CoreDNS's closes: f is all there is
//
// This is the same with more than one f, of which one is steered to in the end,
// and for UDP and TCP. With several c (multisocket) what comes between their
// closings is hashed to those that are left, and what one of them holds when it
// closes is lost.
func (l *Lane) handOver(ctx context.Context) (bool, error) {
	s := l.sockets
	udp, tcp, err := s.behind(l.cfg.Addr)
	if err != nil || udp < 1 || tcp < 1 || s.shifted || l.Moved() {
		return false, err
	}
	err = s.steer(choice{first: s.udpBefore + len(s.UDP)*queues, n: udp}, choice{first: s.tcpBefore + len(s.TCP), n: tcp})
	if err != nil {
		return false, err
	}
	pause(ctx, steerGrace)
	for {
		ok, err := s.UDP[0].Shed()
		if err != nil {
			return false, err
		}
		if ok {
			break
		}
		if pause(ctx, time.Millisecond); ctx.Err() != nil {
			return false, fmt.Errorf("a queue at %s is not empty: %w", l.cfg.Addr, ctx.Err())
		}
	}
	accepted(ctx, s.TCP[0])
	s.TCP[0].Close()
	return true, s.steer(choice{first: s.udpBefore, n: 1}, choice{first: s.tcpBefore, n: 1})
}

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
