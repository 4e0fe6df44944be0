package zone

import (
	"bytes"
	"time"
)

// Nearest names are looked for by probes of the index's hash tries, each at a
// name that is made of the one asked for, and never by a walk over names:
//
//  1. The same service in other namespaces: at most a third of the probes, one
//     for each namespace.
//  2. Names one mistake away, likeliest first, with the probes that are left:
//     neighbours swapped, a letter too many, "-svc" or "-service" too many or
//     too few, a letter missing or another in its place.
//
// So the cost is bounded by Options.Explain, whatever the index holds. A view
// searches at most searchesPerSecond times: a flood of names that do not exist
// soon costs no more than without.

// searchesPerSecond takes a CPU for some 3 % of the time, with DefaultProbes.
const searchesPerSecond = 1000

// maySearch reports whether there may be another search in this second.
func (v *View) maySearch(second uint64) bool {
	for {
		old := v.searches.Load()
		n := uint64(0)
		if old>>32 == second {
			n = old & (1<<32 - 1)
		}
		if n >= searchesPerSecond {
			return false
		}
		if v.searches.CompareAndSwap(old, second<<32|(n+1)) {
			return true
		}
	}
}

func (w *why) maySearch() bool { return w.view.maySearch(uint64(time.Now().Unix())) }

// shows reports whether a namespace, a folded label with its length octet, exists
// and is shown.
func (w *why) shows(label []byte) bool {
	ns := w.snap.namespace(label, hashName(label))
	return ns != nil && w.view.lists(ns.Name)
}

// serves reports whether there is a service, given by its folded labels, its own
// and its namespace's, in a namespace that is shown.
func (w *why) serves(services *trie[*service], labels, namespace []byte) bool {
	return w.has(services, labels) && w.shows(namespace)
}

func (w *why) has(services *trie[*service], labels []byte) bool {
	s := serviceOf(services, labels, hashName(labels))
	return s != nil && s.obj != nil
}

// elsewhere returns a namespace that has the service, a folded label with its
// length octet, or "": of those that it tries the first by name.
func (w *why) elsewhere(label []byte, services *trie[*service]) (found string) {
	probes := w.probes / 3
	w.snap.namespaces.all(func(l leaf[*Namespace]) bool {
		if probes--; probes < 0 {
			return false
		}
		w.probes--
		ns := l.value.Name
		key := appendLabel(append(w.key[:0], label...), ns)
		if w.has(services, key) && w.view.lists(ns) && (found == "" || ns < found) {
			found = ns
		}
		return true
	})
	return found
}

// nearest adds the first variant of label for which there is a service, in the
// namespace that is given, or if that is nil a namespace, if there is one among as
// many as there are probes left. Both are folded labels with length octets.
func (w *why) nearest(label, namespace []byte, services *trie[*service]) {
	v := variants{w, namespace, services}
	v.try(label[1:])
}

// variants are names that differ from another by one mistake.
type variants struct {
	*why
	namespace []byte
	services  *trie[*service]
}

// letters are those of names, often used ones first.
const letters = "-esartionlcdpumghbkvfywxzjq1203456789"

// try tries the variants of name until one is there, or it may try no more.
func (v *variants) try(name []byte) {
	for i := range len(name) - 1 {
		if name[i] == name[i+1] {
			continue
		}
		swapped := [2]byte{name[i+1], name[i]}
		if v.ends(name[:i], string(swapped[:]), name[i+2:]) {
			return
		}
	}
	for i := range name {
		if i > 0 && name[i] == name[i-1] {
			continue // the same as the one before
		}
		if v.ends(name[:i], "", name[i+1:]) {
			return
		}
	}
	for _, ending := range [...]string{"-svc", "-service"} {
		less, had := bytes.CutSuffix(name, []byte(ending))
		if had && v.ends(less, "", nil) || !had && v.ends(name, ending, nil) {
			return
		}
	}
	for c := range len(letters) {
		one := letters[c : c+1]
		for i := len(name); i >= 0; i-- {
			if v.ends(name[:i], one, name[i:]) || i < len(name) && name[i] != one[0] && v.ends(name[:i], one, name[i+1:]) {
				return
			}
		}
	}
}

// ends tries a variant in three pieces, and reports whether it is the last.
func (v *variants) ends(prefix []byte, middle string, suffix []byte) bool {
	n := len(prefix) + len(middle) + len(suffix)
	if n == 0 || n > maxLabel {
		return false
	}
	if v.probes--; v.probes < 0 {
		return true
	}
	key := append(append(append(append(v.key[:0], byte(n)), prefix...), middle...), suffix...)
	if v.namespace == nil && !v.shows(key) {
		return false
	}
	if v.namespace != nil && !v.has(v.services, append(key, v.namespace...)) {
		return false
	}
	v.add("; nearest is ").name(key[1:])
	return true
}
