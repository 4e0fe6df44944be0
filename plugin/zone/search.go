package zone

// Searched reports whether name, in wire format, may be one that a client has
// made of another with the first domain of its search path, and how many labels
// that other has. The domain is <namespace>.svc.<zone> of a namespace that there
// is and that v shows.
//
// A single label in front of it is a service's, one that is not there, and what
// stands in front of a service that is there names one of its endpoints or
// ports: those are not made of others.
func (v *View) Searched(name []byte) (labels int, ok bool) {
	var q query
	if v.opt.External != nil || !q.parse(name) {
		return 0, false
	}
	o := v.match(&q)
	if o == nil || isReverse(o.wire) {
		return 0, false
	}
	n := q.labels - o.labels
	if n < 4 || !q.is(n-1, svcLabel) {
		return 0, false
	}
	snap := v.Index().current.Load()
	label := q.from(n-2, n-1)
	namespace := snap.namespace(label, hashName(label))
	if namespace == nil || !v.lists(namespace.Name) {
		return 0, false
	}
	if n == 4 || o.multicluster || q.label(0)[0] == '_' || q.is(n-4, "\x05_zone") {
		services := &snap.services
		if o.multicluster {
			services = &snap.imports
		}
		service := q.from(n-3, n-1)
		if s := serviceOf(services, service, hashName(service)); s != nil && s.obj != nil {
			return 0, false
		}
	}
	return n - 2, true
}
