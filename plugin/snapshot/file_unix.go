//go:build linux || darwin || freebsd || netbsd || openbsd

package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// openFolder opens dir, which is no link, and this user's or root's. Others may
// be allowed to write in it, as in an emptyDir of Kubernetes: whose the files are is
// looked at for each.
func openFolder(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", errFolder, dir, err)
	}
	f := os.NewFile(uintptr(fd), dir)
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && !trusted(&st) {
		err = fmt.Errorf("it belongs to user %d", st.Uid)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%w %s: %w", errFolder, dir, err)
	}
	return f, nil
}

func trusted(st *unix.Stat_t) bool { return int(st.Uid) == os.Geteuid() || st.Uid == 0 }

// openAt opens a regular file in a folder, no link, that no other user can have
// written.
func openAt(folder *os.File, name string, flags int) (*os.File, *unix.Stat_t, error) {
	fd, err := unix.Openat(int(folder.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	st := new(unix.Stat_t)
	if err = unix.Fstat(fd, st); err == nil {
		switch {
		case uint32(st.Mode)&unix.S_IFMT != unix.S_IFREG:
			err = errors.New("no regular file")
		case !trusted(st):
			err = fmt.Errorf("it belongs to user %d", st.Uid)
		case st.Mode&0o022 != 0:
			err = fmt.Errorf("others may write it: its mode is %#o", st.Mode&0o777)
		case st.Nlink > 1:
			err = errors.New("it has several names")
		}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, st, nil
}

func readFile(dir, name string) ([]byte, error) {
	folder, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	f, st, err := openAt(folder, name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st.Size > MaxSize {
		return nil, fmt.Errorf("%w: %d octets", ErrSize, st.Size)
	}
	data := make([]byte, st.Size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, err
	}
	return data, nil
}

// writeFile puts data into the place of the file. What it writes first is locked,
// and is the file with this name still when it is: another process may have been
// faster between opening and locking. The lock ends with the process, so that what a
// killed one left is written over, and there is never more than one such file.
func writeFile(dir, name string, data []byte) error {
	folder, err := openFolder(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	temp := name + ".tmp"
	f, st, err := openAt(folder, temp, unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("another process writes it: %w", err)
	}
	var now unix.Stat_t
	if err := unix.Fstatat(int(folder.Fd()), temp, &now, unix.AT_SYMLINK_NOFOLLOW); err != nil || now.Ino != st.Ino || now.Dev != st.Dev {
		return errors.New("another process has written it")
	}
	if err = fill(f, data); err == nil {
		err = unix.Renameat(int(folder.Fd()), temp, int(folder.Fd()), name)
	}
	if err != nil {
		_ = unix.Unlinkat(int(folder.Fd()), temp, 0) // gives its room on the disk back
		return err
	}
	return folder.Sync()
}

// fill makes data all that is in f, on the disk.
func fill(f *os.File, data []byte) error {
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// maxEntries bounds how many names of a folder are looked at.
const maxEntries = 1024

func prune(dir, keep string, before time.Time) {
	folder, err := openFolder(dir)
	if err != nil {
		return
	}
	defer folder.Close()
	names, _ := folder.Readdirnames(maxEntries)
	for _, name := range names {
		if fileName.MatchString(name) && name != keep && isOld(folder, name, before) {
			_ = unix.Unlinkat(int(folder.Fd()), name, 0)
		}
	}
}

// isOld reports whether a file in a folder is a snapshot, or the beginning of one,
// last written before the given time.
func isOld(folder *os.File, name string, before time.Time) bool {
	f, st, err := openAt(folder, name, unix.O_RDONLY)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [len(magic)]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return false
	}
	return bytes.HasPrefix(magic[:], head[:n]) && time.Unix(st.Mtim.Unix()).Before(before)
}
