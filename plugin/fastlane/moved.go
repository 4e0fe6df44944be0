package fastlane

import "slices"

// Steer has the kernel steer to l once more. Another process that has opened a
// lane at the address steers to its own, and when it ends, to the sockets with
// the lowest indices, CoreDNS's: nobody else would take that back. l must not
// have moved. Once l closes it does nothing.
func (l *Lane) Steer() {
	l.steering.Lock()
	defer l.steering.Unlock()
	select {
	case <-l.closed:
		return
	default:
	}
	if err := l.sockets.Steer(); err != nil {
		l.report(err)
	}
}

// Moved reports whether a socket that stood at l's address before l's own were
// opened is gone: another process's, say. Those behind it have other indices
// since, and the kernel steers past some of the lane's. Sockets that come later
// stand behind the lane's and change no index.
//
// It reads the kernel's table of sockets.
func (l *Lane) Moved() bool {
	now, err := udpMembers(l.cfg.Addr)
	if err != nil {
		return false
	}
	for _, inode := range l.before {
		if !slices.Contains(now, inode) {
			return true
		}
	}
	return false
}
