package kube

import (
	"errors"
	"fmt"
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
//     v1 Endpoints among them, are ignored and counted (Status.Ignored).
//   - Two objects of one name are an error.
//
// The files are loaded again when they change, as a whole: either everything
// that they say is published, at once, or, if there is an error in any of them,
// nothing, and Status tells the error. AcquireManifests returns the error if
// there is one at the start. A file that is changed in place may be read half
// written in spite of some delay; one that is put in its place by renaming
// cannot.
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
	all := []zone.Resource{zone.Namespaces, zone.Services, zone.EndpointSlices, zone.Pods, zone.ServiceImports}
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
		m := &manifests{source: s, selects: selects, paths: abs, watcher: watcher}
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
	loaded  string // fingerprint of the files as they were published
	version uint64 // of the last load
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
	for m.changed(err != nil) {
		if err = m.reload(); err != nil {
			m.each(func(st *store) { st.fail(err) })
		}
	}
}

// changed waits until something changed and then has settled, or until it is
// time to try again. It is false when the source ends.
func (m *manifests) changed(again bool) bool {
	var first time.Time
	var ready <-chan time.Time
	if again {
		ready = time.After(retryLoad)
	}
	for {
		select {
		case <-m.ctx.Done():
			return false
		case <-ready:
			return true
		case <-m.watcher.Events:
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
// event of their folder. A volume with a ConfigMap replaces a link to a folder
// (..data) beside the files, which are links through that one.
func (m *manifests) watch() error {
	var want []string
	for _, path := range m.paths {
		want = append(want, filepath.Dir(path))
		if target, err := filepath.EvalSymlinks(path); err == nil {
			want = append(want, filepath.Dir(target))
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			want = append(want, path)
		}
	}
	have := m.watcher.WatchList()
	for _, dir := range have {
		if !slices.Contains(want, dir) {
			_ = m.watcher.Remove(dir) // the folder may be gone, and its watch with it
		}
	}
	for _, dir := range want {
		if err := m.watcher.Add(dir); err != nil {
			return fmt.Errorf("watching folder %s: %w", dir, err)
		}
	}
	return nil
}

// load publishes what the files say now, if that is not published already.
func (m *manifests) load() error {
	files, err := m.files()
	if err != nil {
		return err
	}
	fingerprint, newest, err := stat(append(slices.Clone(m.paths), files...))
	if err != nil {
		return err
	}
	if fingerprint == m.loaded {
		m.each(func(st *store) { st.contact() })
		return nil
	}
	version := max(m.version+1, uint64(max(newest.Unix(), 0)))
	set := newManifestSet(&m.conv, m.selects, version)
	for _, file := range files {
		if err := set.addFile(file); err != nil {
			return err
		}
	}
	m.writer.Update(func(b *zone.Batch) {
		for r, values := range set.complete() {
			b.Replace(zone.Resource(r), values, version)
		}
	})
	m.loaded, m.version = fingerprint, version
	m.each(func(st *store) {
		st.ignored.Store(int64(set.ignored))
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
			name := filepath.Join(path, e.Name())
			switch filepath.Ext(name) {
			case ".yaml", ".yml", ".json":
			default:
				continue
			}
			if strings.HasPrefix(e.Name(), ".") {
				continue
			}
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

// stat returns a text that changes with the content of any of paths, and when
// the last of them changed. A change that leaves target, size and time alone
// can only be one within the clock's resolution of the one before, which settle
// outlasts.
func stat(paths []string) (fingerprint string, newest time.Time, err error) {
	var b strings.Builder
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return "", newest, fmt.Errorf("manifests: %w", err)
		}
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
		if info.IsDir() {
			continue
		}
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			return "", newest, fmt.Errorf("manifests: %w", err)
		}
		fmt.Fprintf(&b, "%s\x00%s\x00%d\x00%d\x00", path, target, info.Size(), info.ModTime().UnixNano())
	}
	return b.String(), newest, nil
}
