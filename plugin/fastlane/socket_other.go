//go:build !linux

package fastlane

import (
	"errors"
	"syscall"
)

func (s *sockets) open(string, int) error { return errors.ErrUnsupported }

func (s *sockets) steer(_, _ choice) error { return errors.ErrUnsupported }

func udpMembers(string) ([]string, error) { return nil, errors.ErrUnsupported }

func tcpHolders(string) (int, error) { return 0, errors.ErrUnsupported }

func readable(syscall.Conn) bool { return false }
