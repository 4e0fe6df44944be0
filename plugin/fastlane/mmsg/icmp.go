package mmsg

import (
	"errors"
	"syscall"
)

// pendingErrors bounds how many errors Recv passes over before a datagram.
const pendingErrors = 16

// isICMP says that err is what an ICMP error about an earlier datagram looks
// like (icmp_err_convert in net/ipv4/icmp.c): nothing that concerns the
// socket, or the next datagram. An unconnected socket of Linux gets them only
// with IP_RECVERR (ip(7)); other systems differ.
func isICMP(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN,
		syscall.ENOPROTOOPT, syscall.EOPNOTSUPP, syscall.EMSGSIZE, syscall.EACCES, syscall.EPROTO:
		return true
	}
	return false
}
