//go:build !linux

package fastlane

import "errors"

func (s *Sockets) open(string, int, bool) error { return errors.ErrUnsupported }

func (s *Sockets) steer(_, _ choice) error { return errors.ErrUnsupported }
