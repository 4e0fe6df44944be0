package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
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

// Absent reports whether err is that there is no file, in a folder that is there.
func Absent(err error) bool { return errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errFolder) }

var errFolder = errors.New("folder")
