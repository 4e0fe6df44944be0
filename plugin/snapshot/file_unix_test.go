//go:build linux || darwin || freebsd || netbsd || openbsd

package snapshot

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func write(t *testing.T, dir string, s *State) {
	t.Helper()
	if _, err := Write(dir, s); err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir, source); !Absent(err) {
		t.Errorf("an empty folder: %v", err)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for range 3 {
		want := someState(rng)
		write(t, dir, want)
		got, err := Read(dir, source)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v\ngot  %s\nwant %s", err, dump(got), dump(want))
		}
	}
	other := someState(rng)
	other.Source[0] ^= 1
	write(t, dir, other)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if got, err := Read(dir, source); err != nil || reflect.DeepEqual(got, other) {
		t.Errorf("two sources in one folder: %v", err)
	}
}

// What a file is not to be is not read, and what is there instead of the file
// that is written first is not written to.
func TestOddFiles(t *testing.T) {
	s := someState(rand.New(rand.NewPCG(9, 10)))
	data := encoded(t, s)
	for _, tc := range []struct {
		what string
		make func(path string) error
		want string
	}{
		{"a link", func(path string) error {
			elsewhere := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(elsewhere, data, 0o600); err != nil {
				return err
			}
			return os.Symlink(elsewhere, path)
		}, "too many levels of symbolic links"},
		{"a dangling link", func(path string) error { return os.Symlink(filepath.Join(t.TempDir(), "nothing"), path) }, "too many levels of symbolic links"},
		{"a FIFO", func(path string) error { return unix.Mkfifo(path, 0o600) }, "no regular file"},
		{"a folder", func(path string) error { return os.Mkdir(path, 0o700) }, "o regular file|is a directory"},
		{"a second name", func(path string) error {
			elsewhere := filepath.Join(filepath.Dir(path), "elsewhere")
			if err := os.WriteFile(elsewhere, data, 0o600); err != nil {
				return err
			}
			return os.Link(elsewhere, path)
		}, "several names"},
		{"one that others may write", func(path string) error {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				return err
			}
			return os.Chmod(path, 0o620)
		}, "others may write it: its mode is 0620"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			matches := func(err error) bool {
				for want := range strings.SplitSeq(tc.want, "|") {
					if err != nil && strings.Contains(err.Error(), want) {
						return true
					}
				}
				return false
			}
			dir := t.TempDir()
			if err := tc.make(filepath.Join(dir, source.Name())); err != nil {
				t.Fatal(err)
			}
			if _, err := Read(dir, source); !matches(err) {
				t.Errorf("read: %v", err)
			}
			dir = t.TempDir()
			write(t, dir, s)
			if err := tc.make(filepath.Join(dir, source.Name()+".tmp")); err != nil {
				t.Fatal(err)
			}
			other := someState(rand.New(rand.NewPCG(11, 12)))
			if _, err := Write(dir, other); !matches(err) {
				t.Errorf("written: %v", err)
			}
			if got, err := Read(dir, source); err != nil || !reflect.DeepEqual(got, s) {
				t.Errorf("the file before: %v", err)
			}
		})
	}
}

func TestOddFolders(t *testing.T) {
	s := someState(rand.New(rand.NewPCG(9, 10)))
	dir := t.TempDir()
	real, link, plain := filepath.Join(dir, "real"), filepath.Join(dir, "link"), filepath.Join(dir, "plain")
	if err := os.Mkdir(real, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{link: "not a directory", plain: "not a directory", filepath.Join(dir, "none"): "no such file or directory"} {
		if _, err := Write(path, s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: written: %v", path, err)
		}
		if _, err := Read(path, source); err == nil || !strings.Contains(err.Error(), want) || Absent(err) {
			t.Errorf("%s: read: %v", path, err)
		}
	}
	write(t, real, s) // others may write in it, as in an emptyDir
}

// A file that is too large is not read, whatever it says, and none is written.
func TestFileSize(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, source.Name())
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, MaxSize+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir, source); err == nil || Reason(err) != "size" {
		t.Errorf("read: %v", err)
	}
	s := cluster(10)
	for range 7 { // 10 million
		for i := range s.Sections {
			s.Sections[i].Objects = append(s.Sections[i].Objects, s.Sections[i].Objects...)
		}
	}
	big := s.Sections[2].Objects
	for len(s.Sections[2].Objects)*100 < MaxSize {
		s.Sections[2].Objects = append(s.Sections[2].Objects, big...)
	}
	if _, err := Write(dir, s); err == nil || Reason(err) != "size" {
		t.Errorf("written: %v", err)
	}
	if _, err := os.Stat(path + ".tmp"); err == nil {
		t.Error("something was written")
	}
}

// What a killed process left is written over, and nothing else is left.
func TestLeftOver(t *testing.T) {
	dir := t.TempDir()
	s := someState(rand.New(rand.NewPCG(13, 14)))
	if err := os.WriteFile(filepath.Join(dir, source.Name()+".tmp"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, dir, s)
	if got, err := Read(dir, source); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

// Only snapshots of other sources go, and only old ones.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	old, other := time.Now().Add(-25*time.Hour), someState(rand.New(rand.NewPCG(1, 2)))
	name := func(i byte) string { return Source{i}.Name() }
	make := func(name, text string, at time.Time) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	other.Source = Source{1}
	data := string(encoded(t, other))
	make(source.Name(), data, old)
	make(name(1), data, old)
	make(name(2), data, time.Now())
	make(name(3), "somebody's", old)
	make(name(4)+".tmp", data[:3], old)
	make(name(5)+".tmp", "", old)
	make(name(6)+".tmp", data[:3], time.Now())
	make("notes", data, old)
	make("clusterdns-0123456789abcdef.snapshot.bak", data, old)
	if err := os.Symlink(filepath.Join(dir, name(2)), filepath.Join(dir, name(7))); err != nil {
		t.Fatal(err)
	}
	Prune(dir, source, time.Now().Add(-24*time.Hour))
	got := map[string]bool{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got[e.Name()] = true
	}
	want := map[string]bool{source.Name(): true, name(2): true, name(3): true, name(6) + ".tmp": true, "notes": true,
		"clusterdns-0123456789abcdef.snapshot.bak": true, name(7): true}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("left: %v\nwant: %v", got, want)
	}
}

// Several that write one file at a time, as processes would, leave a whole one.
func TestWriters(t *testing.T) {
	dir := t.TempDir()
	small, large := cluster(1), cluster(200)
	write(t, dir, small)
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			s := []*State{small, large}[i%2]
			for range 50 {
				if _, err := Write(dir, s); err != nil && !strings.Contains(err.Error(), "another process") {
					t.Error(err)
				}
				if _, err := Read(dir, source); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 2 {
		t.Errorf("%v, %v", entries, err)
	}
}
