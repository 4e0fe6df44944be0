package zone

import (
	"cmp"
	"slices"
)

// Source is an object that an answer is made from.
type Source struct {
	Resource Resource
	Key
	Version uint64 // resourceVersion; see Writer for objects without one
}

// Sources returns the objects that the answer is made from: services, in the
// order in which CNAMEs lead to them, and behind them EndpointSlices if there are
// endpoints in it; of a name that has no service its namespace or pod. Of an
// answer that there is no service it is empty.
func (a *Answer) Sources() (list []Source) {
	for _, s := range a.aliases {
		list = s.appendSource(list)
	}
	switch {
	case a.has == hasPTR && a.svc == nil:
		for id := range a.snap.ownersOf(a.addr).all {
			if s := a.owned(id); s != nil && s.hasEndpoint(a.addr) {
				list = s.appendSlices(s.appendSource(list))
			}
		}
	case a.svc != nil && len(a.aliases) > 0 && a.aliases[len(a.aliases)-1] == a.svc:
	case a.svc != nil:
		list = a.svc.appendSource(list)
		if (a.has == hasAddrs || a.has == hasSRV) && !a.ofClusterIP() {
			list = a.svc.appendSlices(list)
		}
	case a.has == hasPod && a.view.opt.Pods == PodsVerified:
		for pod := range a.snap.podsAt(a.addr).all {
			if pod.Namespace == a.namespace.Name {
				list = append(list, Source{Pods, pod.Key, pod.Version})
			}
		}
		slices.SortFunc(list, func(a, b Source) int { return cmp.Compare(a.Name, b.Name) })
	case a.namespace != nil && a.Outcome != NameError:
		list = append(list, Source{Namespaces, a.namespace.ObjectKey(), a.namespace.Version})
	}
	return list
}

func (s *service) appendSource(list []Source) []Source {
	switch {
	case s.obj == nil:
		return list
	case s.id.imported:
		return append(list, Source{ServiceImports, s.id.Key, s.obj.Version})
	}
	return append(list, Source{Services, s.id.Key, s.obj.Version})
}

func (s *service) appendSlices(list []Source) []Source {
	for _, slice := range s.slices {
		list = append(list, Source{EndpointSlices, slice.Key, slice.Version})
	}
	return list
}
