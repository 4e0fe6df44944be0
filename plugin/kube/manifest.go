package kube

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// AcquireManifests returns a Feed from files of Kubernetes objects, in YAML or
// JSON, several to a file or in Lists. Each of paths is a file, or a folder, of
// which the files ending in .yaml, .yml or .json are taken that are not hidden;
// folders in it are not. Feeds from the same paths share a source.
//
// What kubectl get ns,svc,endpointslices,pods -A -o yaml writes is such a file.
// Files written by hand may be as short as those kubectl apply takes:
//
//   - The namespace is "default" where none is given, and a port's protocol TCP.
//   - A namespace exists if there is a Namespace object, or any object in it.
//   - Nothing allocates addresses: a Service without clusterIP has none.
//   - Nothing makes EndpointSlices: they must be there. Objects of other kinds,
//     v1 Endpoints among them, are ignored and counted (Status.Ignored,
//     Status.IgnoredKinds).
//   - Names and namespaces in upper case are an error.
//   - Two objects of one name are an error.
//
// Files and folders may be links, such as those of a ConfigMap's volume, to
// anywhere; all that are on the way to a file are watched.
//
// The files are loaded again when they change, as a whole: either everything
// that they say is published, at once, or, if there is an error in any of them,
// nothing, and Status tells the error. AcquireManifests returns the error if
// there is one at the start. A file that is changed in place may be read half
// written in spite of some delay; one that is put in its place by renaming
// cannot. Later, a file that has become empty, one that ends within a line for
// the first two seconds, and a folder that was made anew and is empty count as
// being written, and what was published stays. An empty folder that is the same
// as before, or a file with a comment alone, has no objects.
//
// The resourceVersions in the files count for nothing: they may come from
// several clusters. All objects of a load have for their version the time when
// the newest file or folder changed, in Unix seconds, or one more than that of
// the load before if that is higher. So the serials of a zone move forward with
// each load, and over restarts as long as clocks do.
//
// Of c counts only what is kept of the objects: PodNames, Zones, Labels and
// NamespaceLabels. A namespace without an object has no labels.
func AcquireManifests(paths []string, c Config) (*Feed, error) {
	if len(paths) == 0 {
		return nil, errors.New("manifests: no paths")
	}
	abs := make([]string, len(paths))
	for i, p := range paths {
		var err error
		if abs[i], err = filepath.Abs(p); err != nil {
			return nil, fmt.Errorf("manifests: %w", err)
		}
	}
	var all []zone.Resource
	for r := range resources {
		all = append(all, zone.Resource(r))
	}
	selects, err := c.selectors()
	if err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	c = Config{PodNames: c.PodNames, Zones: c.Zones, Labels: c.Labels, NamespaceLabels: c.NamespaceLabels}
	return acquire(sourceKey{config: c, manifests: strings.Join(abs, "\x00")}, c, all, func(s *source) error {
		s.name = strings.Join(abs, ", ")
		s.conv.podNames, s.conv.zones = c.PodNames, c.Zones
		for _, r := range all {
			s.follow(r)
		}
		watcher, err := fsnotify.NewWatcher()
		if err != nil {
			return fmt.Errorf("watching manifests: %w", err)
		}
		m := &manifests{source: s, selects: selects, paths: abs, watcher: watcher, renewed: map[string]bool{}}
		if err := m.reload(); err != nil {
			watcher.Close()
			return err
		}
		s.running.Go(m.run)
		return nil
	})
}

// manifests keeps a source in step with files.
type manifests struct {
	*source
	selects [len(resources)]labels.Selector
	paths   []string // absolute
	watcher *fsnotify.Watcher
	loaded  [sha256.Size]byte // sum of the files as they were published
	filled  map[string]bool   // files that had content then
	renewed map[string]bool   // paths that went or came since then
	version uint64            // of the last load
}

// A change is loaded when there was none for settle: programs write files in
// pieces, and folders file by file. But no later than maxSettle, should
// something write all the time. After an error there is another try every
// retryLoad, because a folder that is gone sends no events when it is back.
const (
	settle    = 100 * time.Millisecond
	maxSettle = time.Second
	retryLoad = 5 * time.Second
)

// run loads the manifests when they change, until the source's context ends.
func (m *manifests) run() {
	defer m.watcher.Close()
	var err error
	for m.changed(err) {
		if err = m.reload(); err != nil {
			m.each(func(st *store) { st.fail(err) })
		}
	}
}

// changed waits until something changed and then has settled, or until it is
// time to try again if a load failed. It is false when the source ends.
func (m *manifests) changed(failed error) bool {
	var first time.Time
	var ready <-chan time.Time
	switch {
	case errors.Is(failed, errWriting):
		ready = time.After(maxSettle)
	case failed != nil:
		ready = time.After(retryLoad)
	}
	for {
		select {
		case <-m.ctx.Done():
			return false
		case <-ready:
			return true
		case e := <-m.watcher.Events:
			if e.Op&(fsnotify.Create|fsnotify.Remove|fsnotify.Rename) != 0 && slices.Contains(m.paths, e.Name) {
				m.renewed[e.Name] = true
			}
		case <-m.watcher.Errors: // events were lost
		}
		if first.IsZero() {
			first = time.Now()
		}
		ready = time.After(min(settle, maxSettle-time.Since(first)))
	}
}

// reload publishes what the files say now. It watches before it reads, so that
// no change is missed.
func (m *manifests) reload() error {
	if err := m.watch(); err != nil {
		return err
	}
	return m.load()
}

// watch has the watcher watch all folders that a change can come from, and no
// others. Files are replaced by renaming another to their name, which is an
// event of their folder, and so are links: on the way to a file may be any
// number of them. (The volume of a ConfigMap replaces a link to a folder, ..data,
// beside the files, which are links through that one.)
func (m *manifests) watch() error {
	want := map[string]bool{}
	for _, path := range m.paths {
		want[filepath.Dir(path)] = true
		linkFolders(path, want)
		entries, err := os.ReadDir(path)
		if err != nil {
			continue // a file, or load will say what is wrong
		}
		want[path] = true
		for _, e := range entries {
			if isManifest(e.Name()) && e.Type()&fs.ModeSymlink != 0 {
				linkFolders(filepath.Join(path, e.Name()), want)
			}
		}
	}
	for _, dir := range m.watcher.WatchList() {
		if !want[dir] {
			_ = m.watcher.Remove(dir) // the folder may be gone, and its watch with it
		}
	}
	for dir := range want {
		if err := m.watcher.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("watching folder %s: %w", dir, err)
		}
	}
	return nil
}

// maxLinks is how many links may be on the way to a file: as many as Linux
// follows.
const maxLinks = 40

// linkFolders adds to want the folders of all links on the way to path, and that
// of what they lead to.
func linkFolders(path string, want map[string]bool) {
	const separator = string(filepath.Separator)
	root := filepath.VolumeName(path) + separator
	at, rest := root, strings.Split(strings.TrimPrefix(path, root), separator)
	for links := 0; len(rest) > 0 && links < maxLinks; {
		next := filepath.Join(at, rest[0])
		target, err := os.Readlink(next)
		if err != nil { // no link
			at, rest = next, rest[1:]
			continue
		}
		links++
		want[at] = true
		if filepath.IsAbs(target) {
			at = root
		}
		rest = append(strings.Split(target, separator), rest[1:]...)
	}
	want[filepath.Dir(at)] = true
}

// load publishes what the files say now, if that is not published already.
func (m *manifests) load() error {
	files, err := m.files()
	if err != nil {
		return err
	}
	sum, filled, err := m.sum(files)
	if err != nil {
		return err
	}
	if m.version > 0 && sum == m.loaded {
		m.renewed = map[string]bool{}
		m.each(func(st *store) { st.contact() })
		return nil
	}
	newest, err := m.stat(files)
	if err != nil {
		return err
	}
	version := max(m.version+1, uint64(max(newest.Unix(), 0)))
	set := newManifestSet(&m.conv, m.selects, version)
	read := sha256.New()
	for _, file := range files {
		beginFile(read, file)
		if err := set.addFile(file, read); err != nil {
			return err
		}
	}
	if [sha256.Size]byte(read.Sum(nil)) != sum {
		return fmt.Errorf("manifests: %w", errWriting)
	}
	m.writer.Update(func(b *zone.Batch) {
		for r, values := range set.complete() {
			b.Replace(zone.Resource(r), values, version)
		}
	})
	m.loaded, m.filled, m.renewed, m.version = sum, filled, map[string]bool{}, version
	m.each(func(st *store) {
		st.ignored.Store(int64(set.ignored))
		st.ignoredKinds.Store(&set.kinds)
		st.replaced(strconv.FormatUint(version, 10))
		st.event()
	})
	return nil
}

func (m *manifests) each(fn func(*store)) {
	for i := range m.stores {
		fn(m.stores[i].Load())
	}
}

// files returns the files that the manifests are in, those of a folder sorted
// by name, each once.
func (m *manifests) files() (files []string, err error) {
	for _, path := range m.paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("manifests: %w", err)
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		entries, err := os.ReadDir(path) // sorted
		if err != nil {
			return nil, fmt.Errorf("manifests: %w", err)
		}
		for _, e := range entries {
			if !isManifest(e.Name()) {
				continue
			}
			name := filepath.Join(path, e.Name())
			// e may be a link; one to nowhere is an error.
			if info, err := os.Stat(name); err != nil {
				return nil, fmt.Errorf("manifests: %w", err)
			} else if info.Mode().IsRegular() {
				files = append(files, name)
			}
		}
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(files, func(f string) bool {
		again := seen[f]
		seen[f] = true
		return again
	}), nil
}

// isManifest reports whether a file in a folder is taken, by its name.
func isManifest(name string) bool {
	return !strings.HasPrefix(name, ".") && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
}

// errWriting is a file of which perhaps not all is there yet.
var errWriting = errors.New("it is being written")

// unfinished is how long after its last change a file without a newline at its
// end counts as unfinished.
const unfinished = 2 * time.Second

// sum returns a sum of the names and contents of files, in the order given, and
// which of them have any content. Times and inodes would not do: one file may
// replace another of the same size and time. It is an error if a file that was
// published looks as if it were being written: it is empty now, or ends within
// a line.
func (m *manifests) sum(files []string) (sum [sha256.Size]byte, filled map[string]bool, err error) {
	h := sha256.New()
	filled = map[string]bool{}
	for _, file := range files {
		beginFile(h, file)
		tail, err := copyFile(h, file)
		if err != nil {
			return sum, nil, fmt.Errorf("manifests: %w", err)
		}
		filled[file] = len(tail) > 0
		if m.version == 0 {
			continue
		}
		switch info, err := os.Stat(file); {
		case err != nil:
			return sum, nil, fmt.Errorf("manifests: %w", err)
		case len(tail) == 0 && m.filled[file]:
			return sum, nil, fmt.Errorf("manifests: %s is empty, and was not: %w", file, errWriting)
		case len(tail) > 0 && tail[0] != '\n':
			if age := time.Since(info.ModTime()); age >= 0 && age < unfinished {
				return sum, nil, fmt.Errorf("manifests: %s has no newline at its end: %w", file, errWriting)
			}
		}
	}
	return [sha256.Size]byte(h.Sum(nil)), filled, nil
}

// beginFile adds to h that a file begins.
func beginFile(h hash.Hash, name string) { fmt.Fprintf(h, "\x00%s\x00", name) }

// copyFile adds the content of a file to h, and returns its last byte if there
// is one.
func copyFile(h hash.Hash, name string) (tail []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			_, _ = h.Write(buf[:n])
			tail = append(tail[:0], buf[n-1])
		}
		if err == io.EOF {
			return tail, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// stat returns when the last of paths and files changed. A folder that was made
// anew has to have files.
func (m *manifests) stat(files []string) (newest time.Time, err error) {
	for _, path := range append(slices.Clone(m.paths), files...) {
		info, err := os.Stat(path)
		if err != nil {
			return newest, fmt.Errorf("manifests: %w", err)
		}
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
		if info.IsDir() && m.renewed[path] && !slices.ContainsFunc(files, func(f string) bool { return filepath.Dir(f) == path }) {
			return newest, fmt.Errorf("manifests: folder %s was made anew and is empty: %w", path, errWriting)
		}
	}
	return newest, nil
}
