package zone

import (
	"cmp"
	"slices"
	"strings"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// Listed is a service as a View shows it.
type Listed struct {
	*Service
	Imported bool // of a set of clusters
	// Ready are the endpoints that are answered, not each once if slices say so,
	// and NotReady those that are left out.
	Ready, NotReady int
}

// Explaining returns v as it is now with explanations (Answer.Why), whatever its
// options say.
func (v *View) Explaining() *View {
	opt := v.opt
	opt.Explain = DefaultProbes
	x, err := NewView(v.Index(), opt)
	if err != nil {
		return v // never: v was made of the same
	}
	x.SetLocalAddrs(v.local)
	return x
}

// Namespaces returns the names of the namespaces that v shows, sorted.
func (v *View) Namespaces() (names []string) {
	for l := range v.Index().current.Load().namespaces.all {
		if v.lists(l.value.Name) {
			names = append(names, l.value.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Services returns the services that v shows of a namespace, sorted by name, and
// whether v shows the namespace. It looks at every service of the index.
func (v *View) Services(namespace string) (list []Listed, ok bool) {
	snap := v.Index().current.Load()
	namespace = strings.ToLower(namespace)
	label := appendLabel(nil, namespace)
	if !isLabel(namespace) || !v.lists(namespace) || snap.namespace(label, hashName(label)) == nil {
		return nil, false
	}
	add := func(l leaf[*service]) bool {
		s := l.value
		if s.obj == nil || s.id.Namespace != namespace {
			return true
		}
		of := Listed{Service: s.obj, Imported: s.id.imported}
		for _, slice := range s.slices {
			of.Ready += slice.Ready.Len()
			if slice.NotReady != nil && !s.publishes() {
				of.NotReady += slice.NotReady.Len()
			} else if slice.NotReady != nil {
				of.Ready += slice.NotReady.Len()
			}
		}
		if v.opt.NoEndpoints && !s.id.imported {
			of.Ready, of.NotReady = 0, 0
		}
		list = append(list, of)
		return true
	}
	own, imported := v.kinds()
	if own {
		snap.services.all(add)
	}
	if imported {
		snap.imports.all(add)
	}
	slices.SortFunc(list, func(a, b Listed) int { return cmp.Compare(a.Name, b.Name) })
	return list, true
}

// kinds reports whether v has zones for the cluster's own services, and for
// those of a set of clusters.
func (v *View) kinds() (own, imported bool) {
	for _, o := range v.origins {
		imported = imported || o.multicluster
		own = own || !o.multicluster && (v.opt.External != nil || !isReverse(o.wire))
	}
	return own, imported
}

// NamespaceOf returns the namespace that a name, as text, is in, if it is one in
// v's zones and there can be such a name.
func (v *View) NamespaceOf(name string) string {
	wire, err := dnswire.AppendName(nil, name)
	if err != nil {
		return ""
	}
	d, _, valid := v.Describe(wire)
	if !valid {
		return ""
	}
	return d.Namespace
}
