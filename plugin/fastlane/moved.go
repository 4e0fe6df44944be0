package fastlane

import "slices"

// Moved reports whether a socket that stood at l's address before l's own were
// opened is gone: another process's, say. Those behind it have other indices
// since, and the kernel steers past some of the lane's. Sockets that come later
// stand behind the lane's; whoever opened them has the kernel steer to them.
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
