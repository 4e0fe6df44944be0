//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package snapshot

import "errors"

func readFile(string, string) ([]byte, error) { return nil, errors.ErrUnsupported }

func writeFile(string, string, []byte) error { return errors.ErrUnsupported }
