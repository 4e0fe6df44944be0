package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"time"
)

// Read returns what the file of the source in dir says. An error wraps
// fs.ErrNotExist if there is no such file, one of Parse, or says that folder or file
// are not to be trusted: links, devices, files that others may write.
func Read(dir string, source Source) (*State, error) {
	data, err := readFile(dir, source.Name())
	if err != nil {
		return nil, fmt.Errorf("snapshot %s/%s: %w", dir, source.Name(), err)
	}
	s, err := Parse(data, source)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s/%s: %w", dir, source.Name(), err)
	}
	return s, nil
}

// Write puts s into dir in the place of the file of its source, and returns its
// size. The file before stays until the new one is on the disk as a whole, and if
// that fails. Of several processes that write the same file at the same time one
// does, and the others get an error.
func Write(dir string, s *State) (size int, err error) {
	data, err := Append(nil, s)
	if err == nil {
		err = writeFile(dir, s.Source.Name(), data)
	}
	if err != nil {
		return 0, fmt.Errorf("snapshot %s/%s: %w", dir, s.Source.Name(), err)
	}
	return len(data), nil
}

// Prune removes from dir the files of other sources, whole or begun, that were
// last written before the given time. What it cannot remove stays: nothing depends
// on it but room on the disk.
func Prune(dir string, keep Source, before time.Time) {
	prune(dir, keep.Name(), before)
}

// fileName is how files are named, and, with ".tmp" behind, what is written first.
var fileName = regexp.MustCompile(`^clusterdns-[0-9a-f]{16}\.snapshot(\.tmp)?$`)

// Absent reports whether err is that there is no file, in a folder that is there.
func Absent(err error) bool { return errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errFolder) }

var errFolder = errors.New("folder")
