package lanes

import (
	"bytes"
	golog "log"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/clusterdns/clusterdns/plugin/fastlane"
)

// bubble runs f with a model of CoreDNS whose lanes always open.
func bubble(t *testing.T, f func(t *testing.T, m *model)) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(t, rand.New(rand.NewPCG(1, 2)))
		f(t, m)
		time.Sleep(settleTimeout)
		synctest.Wait()
		close(m.k.ended)
	})
}

// loads returns an instance with one socket at :53, and what it wants there.
func (m *model) loads(name string) (*loaded, planned) {
	c := &loaded{name: name, wants: map[string]spec{":53": {sockets: 1, workers: 1, arrives: true}}}
	c.alive.Store(true)
	c.inst = newInstance(m.k)
	c.inst.alive = func() bool { return c.alive.Load() }
	c.inst.count = func(string) int { return 1 }
	plan := planned{program: new(fastlane.Program), config: &fastlane.Config{Addr: ":53", Workers: 1}}
	m.owners[plan.program] = c
	c.inst.starts([]string{":53"})
	return c, plan
}

func (m *model) worksFor() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for l := range m.lanes {
		return m.owners[l.program].name
	}
	return ""
}

// takeLane takes one of the lanes away.
func (m *model) takeLane() *fakeLane {
	m.mu.Lock()
	defer m.mu.Unlock()
	for l := range m.lanes {
		delete(m.lanes, l)
		return l
	}
	return nil
}

// A server of the old instance that arrives after that of the new one takes
// nothing away from it.
func TestLateArrival(t *testing.T) {
	bubble(t, func(t *testing.T, m *model) {
		m.bind(true, &loaded{wants: map[string]spec{":53": {sockets: 1}}})
		old, plan := m.loads("old")
		old.inst.arrive(":53", plan)
		old.inst.settle()
		older, late := m.loads("another socket of old")
		old.inst.restart()
		c, wants := m.loads("new")
		c.inst.arrive(":53", wants)
		older.inst.arrive(":53", late)
		if who := m.worksFor(); who != "new" {
			t.Errorf("the lane works for %q", who)
		}
		older.inst.drop()
		old.alive.Store(false)
		old.inst.leave()
		c.inst.settle()
		if who := m.worksFor(); who != "new" {
			t.Errorf("after the reload the lane works for %q", who)
		}
	})
}

// A lane that stalls is opened again, after longer each time.
func TestStalledLaneReopens(t *testing.T) {
	bubble(t, func(t *testing.T, m *model) {
		m.bind(true, &loaded{wants: map[string]spec{":53": {sockets: 1}}})
		c, plan := m.loads("Corefile")
		c.inst.arrive(":53", plan)
		c.inst.settle()
		var waits []time.Duration
		for range 10 {
			l := m.takeLane()
			if l == nil {
				t.Fatal("no lane")
			}
			l.opt.Stalled()
			begin := time.Now()
			for m.worksFor() == "" && time.Since(begin) < time.Hour {
				time.Sleep(time.Second)
				synctest.Wait()
			}
			waits = append(waits, time.Since(begin))
		}
		if !slices.IsSorted(waits) || waits[0] > 2*retryAfter || waits[4] < 8*retryAfter || waits[9] > retryAtMost+time.Second {
			t.Errorf("open again after %v", waits)
		}
		if s := (*m.k.shown.Load())[0]; s.Stalled != 10 || !s.Open {
			t.Errorf("%d stalled lanes are counted, open: %v", s.Stalled, s.Open)
		}
	})
}

// An open lane has the kernel steer to it again and again, as long as it stands
// where the kernel was told.
func TestSteersAgain(t *testing.T) {
	bubble(t, func(t *testing.T, m *model) {
		m.bind(true, &loaded{wants: map[string]spec{":53": {sockets: 1}}})
		c, plan := m.loads("Corefile")
		c.inst.arrive(":53", plan)
		c.inst.settle()
		m.mu.Lock()
		var l *fakeLane
		for l = range m.lanes {
		}
		m.mu.Unlock()
		time.Sleep(3*watchEvery + watchEvery/2)
		synctest.Wait()
		l.gone.Store(true)
		time.Sleep(watchEvery)
		if n := l.steers.Load(); n != 3 {
			t.Errorf("steered %d times, want 3", n)
		}
	})
}

// A lane has its mirror back when it is open again, and when it works for the next
// Corefile.
func TestMirrorComesBack(t *testing.T) {
	bubble(t, func(t *testing.T, m *model) {
		m.bind(true, &loaded{wants: map[string]spec{":53": {sockets: 1}}})
		c, plan := m.loads("Corefile")
		plan.mirror = m.mirrorOf(":53", plan.program)
		c.inst.arrive(":53", plan)
		c.inst.settle()
		wants := func(what string, program *fastlane.Program) {
			t.Helper()
			synctest.Wait()
			m.mu.Lock()
			defer m.mu.Unlock()
			if f := m.mirrorAt(":53"); f == nil && program != nil || f != nil && f.program != program {
				t.Errorf("%s: the mirror is %+v", what, f)
			}
		}
		wants("at first", plan.program)
		if open, names, wanted := (*m.k.shown.Load())[0].Kernel(); !open || names != 1 || !wanted {
			t.Errorf("open: %v, %d names, wanted: %v", open, names, wanted)
		}
		m.takeLane().opt.Stalled()
		wants("stalled", nil)
		time.Sleep(2 * retryAfter)
		wants("open again", plan.program)
		next, nextPlan := m.loads("next Corefile")
		nextPlan.mirror = m.mirrorOf(":53", nextPlan.program)
		c.inst.restart()
		next.inst.arrive(":53", nextPlan)
		wants("reloaded", nextPlan.program)
		last, lastPlan := m.loads("without")
		next.inst.restart()
		last.inst.arrive(":53", lastPlan)
		wants("without", nil)
		time.Sleep(time.Minute)
		if _, _, wanted := (*m.k.shown.Load())[0].Kernel(); wanted {
			t.Error("a mirror that is gone is remembered")
		}
	})
}

// The process may end while its first instance is set up: nothing of that is
// known yet, and nothing goes wrong.
func TestEndsEarly(t *testing.T) {
	var logged bytes.Buffer
	defer golog.SetOutput(golog.Writer())
	golog.SetOutput(&logged)
	bubble(t, func(t *testing.T, m *model) {
		inst := newInstance(m.k)
		inst.leave()
		inst.end()
	})
	if logged.Len() > 0 {
		t.Errorf("logged %s", logged.String())
	}
}

// Whoever asks the keeper while it hangs gives up in time, and the metrics do
// not wait at all.
func TestKeeperHangs(t *testing.T) {
	bubble(t, func(t *testing.T, m *model) {
		m.bind(true, &loaded{wants: map[string]spec{":53": {sockets: 1}}})
		c, plan := m.loads("Corefile")
		c.inst.arrive(":53", plan)
		c.inst.settle()
		hang := make(chan struct{})
		m.k.post(func() { <-hang })
		synctest.Wait()
		begin := time.Now()
		if s := *m.k.shown.Load(); len(s) != 1 || !s[0].Open {
			t.Errorf("states: %+v", s)
		}
		if time.Since(begin) > 0 {
			t.Error("the metrics wait")
		}
		c.inst.leave()
		c.inst.end()
		if took := time.Since(begin); took > 2*laneTimeout {
			t.Errorf("SIGTERM took %v", took)
		}
		close(hang)
	})
}

// What an instance had is garbage when the next one has taken over: the plans of
// as many reloads as there may be hold nothing.
func TestProgramsAreLetGo(t *testing.T) {
	var old []weak.Pointer[fastlane.Program]
	bubble(t, func(t *testing.T, m *model) {
		m.bind(true, &loaded{wants: map[string]spec{":53": {sockets: 1}}})
		var before *loaded
		for i := range 10 {
			if before != nil {
				before.inst.restart()
			}
			c, plan := m.loads("Corefile")
			c.inst.arrive(":53", plan)
			if before != nil {
				before.alive.Store(false)
				before.inst.leave()
			}
			c.inst.settle()
			before = c
			m.owners = map[*fastlane.Program]*loaded{plan.program: c} // the model lets go
			if i < 9 {
				old = append(old, weak.Make(plan.program))
			}
		}
		runtime.GC()
		for i, p := range old {
			if p.Value() != nil {
				t.Errorf("the program of instance %d is still held", i)
			}
		}
	})
}

// Where another process is a lane waits for its end, looks often, and says so
// once.
func TestWaitsForAnother(t *testing.T) {
	var logged bytes.Buffer
	defer golog.SetOutput(golog.Writer())
	golog.SetOutput(&logged)
	bubble(t, func(t *testing.T, m *model) {
		m.bind(true, &loaded{wants: map[string]spec{":53": {sockets: 1}}})
		m.shared.Store(true)
		c, plan := m.loads("Corefile")
		c.inst.arrive(":53", plan)
		c.inst.settle()
		time.Sleep(time.Hour)
		synctest.Wait()
		if who := m.worksFor(); who != "" {
			t.Errorf("a lane for %q beside another process", who)
		}
		m.shared.Store(false)
		time.Sleep(sharedEvery)
		synctest.Wait()
		if who := m.worksFor(); who != "Corefile" {
			t.Errorf("the lane works for %q when the other has gone", who)
		}
	})
	if n := bytes.Count(logged.Bytes(), []byte("another process")); n != 1 {
		t.Errorf("said %d times:\n%s", n, logged.String())
	}
}
