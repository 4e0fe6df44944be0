package lanes

import (
	"testing"

	"github.com/clusterdns/clusterdns/plugin/fastlane"
)

func TestNext(t *testing.T) {
	ours, theirs := new(fastlane.Program), new(fastlane.Program)
	one, two := fastlane.Config{Addr: ":53", Others: 1}, fastlane.Config{Addr: ":53", Others: 2}
	opened := have{phase: open, program: ours, config: one}
	for _, row := range []struct {
		name string
		have have
		want want
		then action
	}{
		{"nothing at all", have{}, want{}, rest},
		{"the first lane", have{}, want{program: ours, config: &one, settled: true}, openUp},
		{"not before sockets are counted", have{}, want{program: ours, config: &one}, rest},
		{"not soon after one that failed", have{}, want{program: ours, config: &one, settled: true, tooSoon: true}, rest},
		{"none is wanted", have{}, want{program: ours, settled: true}, rest},

		{"all is well", opened, want{program: ours, config: &one, settled: true}, rest},
		{"all is well, and it failed before", opened, want{program: ours, config: &one, settled: true, tooSoon: true}, rest},
		{"a reload: the new servers are up, the old ones too", opened, want{program: theirs, config: &one}, swap},
		{"a reload that wants another lane", opened, want{program: theirs, config: &two}, swap},
		{"a reload that wants none", opened, want{program: theirs}, swap},
		{"before the sockets are counted", opened, want{program: ours, config: &two}, rest},
		{"another lane, when they are", opened, want{program: ours, config: &two, settled: true}, shutDown},
		{"no lane, when they are", opened, want{program: ours, settled: true}, shutDown},
		{"somebody else's sockets came or went", opened, want{program: ours, config: &one, settled: true, moved: true}, shutDown},
		{"the same, in a reload", opened, want{program: ours, config: &one, moved: true}, rest},
		{"the instance is gone", opened, want{}, shutDown},

		{"while it closes, whatever is wanted", have{phase: closing}, want{program: ours, config: &one, settled: true}, rest},
		{"while it closes for nobody", have{phase: closing}, want{}, rest},
	} {
		if got := next(row.have, row.want); got != row.then {
			t.Errorf("%s: %v, want %v", row.name, got, row.then)
		}
	}
}

// Whatever there is and is wanted, next comes to rest, as the keeper does its
// actions.
func TestNextRests(t *testing.T) {
	programs := []*fastlane.Program{nil, new(fastlane.Program), new(fastlane.Program)}
	configs := []*fastlane.Config{nil, {Others: 1}, {Others: 2}}
	for bits := range 1 << 3 {
		for _, config := range configs {
			for _, program := range programs {
				w := want{program: program, config: config, settled: bits&1 != 0, tooSoon: bits&2 != 0, moved: bits&4 != 0}
				for _, phase := range []phase{shut, open, closing} {
					h := have{phase: phase, program: programs[1], config: fastlane.Config{Others: 1}}
					steps := 0
					for ; steps < 5; steps++ {
						a := next(h, w)
						if a == rest && h.phase != closing {
							break
						}
						switch a {
						case rest: // it has closed
							h = have{}
							w.moved = false
						case swap:
							h.program = w.program
						case shutDown:
							h = have{phase: closing}
						case openUp:
							h = have{phase: open, program: w.program, config: *w.config}
							w.moved = false
						}
					}
					if steps == 5 {
						t.Errorf("no end: %+v, %+v", h, w)
					}
				}
			}
		}
	}
}
