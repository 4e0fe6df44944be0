package kube

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/clusterdns/clusterdns/plugin/snapshot"
	"github.com/clusterdns/clusterdns/plugin/zone"
)

// Snapshot says where a source is saved, so that the next process has something to
// answer from before it has the API server's word.
type Snapshot struct {
	Dir string // a folder; empty for nowhere
	// MaxAge is how long the API server may not have been watched for what was
	// saved to be used; 0 for snapshot.DefaultMaxAge. Endpoints count for
	// snapshot.MaxEndpointAge at most.
	MaxAge time.Duration
}

// SnapshotStatus is what became of a source's snapshot.
type SnapshotStatus struct {
	Dir string // empty if there is none

	Loaded    []zone.Resource // that the index began with
	Contact   time.Time       // when what of them is oldest was last known to be so
	LoadError error           // why not, or not all; nil also if there was no file

	Saves      uint64 // that succeeded
	SaveErrors uint64
	LastSave   time.Time
	Size       int   // of the last one, in octets
	SaveError  error // of the last attempt
}

// saver saves a source.
type saver struct {
	src      *source
	id       snapshot.Source
	maxAge   time.Duration             // as given
	restored [len(resources)]time.Time // the contacts of what was loaded
	done     chan struct{}             // closed when the last save is over

	mu     sync.Mutex
	status SnapshotStatus
}

// saving are the times of a saver. Zeros stand for the defaults.
type saving struct {
	look    time.Duration // between looks
	changed time.Duration // between saves of what changed
	// unchanged is between saves for the time of contact alone: a killed process
	// saves no more, and the next counts from there.
	unchanged time.Duration
}

func (s saving) orDefault() saving {
	return saving{
		look:      cmp.Or(s.look, time.Second),
		changed:   cmp.Or(s.changed, time.Minute),
		unchanged: cmp.Or(s.unchanged, 10*time.Minute),
	}
}

// lastSave bounds how long a Release waits for what it has saved: a disk that
// hangs is not to keep the process from its end.
const lastSave = 5 * time.Second

// snapshotID identifies what is saved: by the API server, and what of its objects is
// kept, but not by who asks.
func (c Config) snapshotID() (id snapshot.Source, err error) {
	config, err := c.rest()
	if err != nil {
		return id, err
	}
	ca := config.CAData
	if len(ca) == 0 && config.CAFile != "" {
		if ca, err = os.ReadFile(config.CAFile); err != nil {
			return id, fmt.Errorf("CA certificate: %w", err)
		}
	}
	h := sha256.New()
	for _, part := range []string{config.Host, config.APIPath, config.ServerName, string(ca), c.Labels, c.NamespaceLabels, fmt.Sprint(c.PodNames, c.Zones)} {
		fmt.Fprintf(h, "%d %s\n", len(part), part)
	}
	return snapshot.Source(h.Sum(nil)), nil
}

// keep has s saved where the last of its holders wants it that wants it at all, and
// if that is the first one, begins with what was saved there. Sources are locked.
func (s *source) keep() {
	var c Config
	for _, f := range s.holders {
		if f.config.Snapshot.Dir != "" {
			c = f.config
		}
	}
	v := s.saver.Load()
	if v != nil {
		v.mu.Lock()
		v.status.Dir = c.Snapshot.Dir
		v.mu.Unlock()
		return
	}
	if c.Snapshot.Dir == "" || s.clients == nil {
		return
	}
	v = &saver{src: s, done: make(chan struct{})}
	v.status.Dir = c.Snapshot.Dir
	if id, err := c.snapshotID(); err != nil {
		v.status.LoadError = fmt.Errorf("snapshot: %w", err)
		close(v.done)
	} else {
		v.id, v.maxAge = id, c.Snapshot.MaxAge
		v.load(c.Snapshot)
		go v.run(c.saving.orDefault())
	}
	s.saver.Store(v)
}

// load restores what was saved. What is wrong with it is in the status.
func (v *saver) load(c Snapshot) {
	state, err := snapshot.Read(c.Dir, v.id)
	if err != nil {
		if !snapshot.Absent(err) {
			v.status.LoadError = err
		}
		return
	}
	v.status.LoadError = state.Fresh(time.Now(), cmp.Or(c.MaxAge, snapshot.DefaultMaxAge))
	saved := &zone.Saved{Serial: state.Serial, Last: state.Last, Objects: map[zone.Resource][]zone.Object{}}
	for _, sec := range state.Sections {
		saved.Objects[sec.Resource] = sec.Objects
		v.restored[sec.Resource] = sec.Contact
		v.status.Loaded = append(v.status.Loaded, sec.Resource)
		if v.status.Contact.IsZero() || sec.Contact.Before(v.status.Contact) {
			v.status.Contact = sec.Contact
		}
	}
	v.src.writer.Update(func(b *zone.Batch) { b.Restore(saved) })
}

// run saves until the source has stopped, and then once more.
func (v *saver) run(t saving) {
	defer close(v.done)
	tick := time.NewTicker(t.look)
	defer tick.Stop()
	// Of the last save:
	var dir string
	var serial uint32
	var contact int64 // moment
	var tried time.Time
	for {
		ended := false
		select {
		case <-v.src.ctx.Done():
			v.src.running.Wait()
			ended = true
		case <-tick.C:
			v.dropUnwanted()
		}
		if now := v.dir(); now != dir {
			dir, contact, tried = now, 0, time.Time{}
		}
		now := v.src.writer.Index().Serial()
		wait := t.changed
		if contact != 0 && now == serial {
			wait = t.unchanged
		}
		newest, ok := v.complete()
		if ok && dir != "" && (ended || newest > contact && time.Since(tried) >= wait) {
			tried = time.Now()
			if v.save(dir, ended) {
				serial, contact = now, newest
			}
		}
		if ended {
			return
		}
	}
}

// dropUnwanted takes out of the index what was restored and nobody follows: it
// would be there, older and older, for who follows it later. All stanzas of a
// Corefile have long said what they want.
func (v *saver) dropUnwanted() {
	sources.Lock()
	defer sources.Unlock()
	for r := range v.src.stores {
		if r := zone.Resource(r); v.src.stores[r].Load() == nil && v.src.writer.Index().Restored(r) {
			v.src.writer.Update(func(b *zone.Batch) { b.Drop(r) })
		}
	}
}

func (v *saver) dir() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.status.Dir
}

// complete reports whether every resource that is followed, and saved at all, can
// be saved, and the moment of the last contact with one that is not itself from a
// snapshot.
func (v *saver) complete() (newest int64, ok bool) {
	ix := v.src.writer.Index()
	for r := range v.src.stores {
		st := v.src.stores[r].Load()
		if r := zone.Resource(r); st == nil || !r.Saves() {
			continue
		} else if !ix.Synced(r) {
			return newest, false
		} else if !ix.Restored(r) {
			newest = max(newest, st.heard.Load())
		}
	}
	return newest, newest != 0
}

// save writes the file, and reports whether it did.
func (v *saver) save(dir string, last bool) bool {
	// What is known of the contacts is not newer than what is saved. An API server
	// that answers, but not whole, says nothing of what is held.
	now := time.Now()
	var contacts [len(resources)]time.Time
	for r := range v.src.stores {
		if v.src.writer.Index().Restored(zone.Resource(r)) {
			contacts[r] = v.restored[r]
		} else if st := v.src.stores[r].Load(); st != nil {
			contacts[r] = timeOf(st.heard.Load(), now)
		}
	}
	saved := v.src.writer.Save()
	state := &snapshot.State{Source: v.id, Serial: saved.Serial, Last: last && saved.Last}
	for r, objects := range saved.Objects {
		if !contacts[r].IsZero() {
			state.Sections = append(state.Sections, snapshot.Section{Resource: r, Contact: contacts[r], Objects: objects})
		}
	}
	slices.SortFunc(state.Sections, func(a, b snapshot.Section) int { return cmp.Compare(a.Resource, b.Resource) })
	// What another source left is of no use to anybody with the default age.
	snapshot.Prune(dir, v.id, now.Add(-max(v.maxAge, snapshot.DefaultMaxAge)))
	size, err := snapshot.Write(dir, state)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.status.SaveError = err; err != nil {
		v.status.SaveErrors++
		return false
	}
	v.status.Saves++
	v.status.LastSave, v.status.Size = time.Now(), size
	return true
}

// Snapshot returns what became of the snapshot of the feed's source.
func (f *Feed) Snapshot() SnapshotStatus {
	v := f.src.saver.Load()
	if v == nil {
		return SnapshotStatus{}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.status
}
