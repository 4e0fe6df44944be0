// Package kube feeds a zone.Writer from a Kubernetes API server or from
// manifest files.
//
// Vocabulary, smallest to largest:
//
//	resource   a kind of object that is followed: how to ask for it, and its type
//	object     an object as the API server sends it, called raw
//	value      what zone keeps of an object; compact, and free of the raw object
//	store      where a reflector of one resource puts values: the zone.Writer,
//	           and counters beside it. There is no second copy
//	source     one API server or set of manifests: a Writer and its stores
//	Feed       a holder's reference to a source
//
// # Ownership
//
// Sources belong to the process, not to a configuration: Acquire and
// AcquireManifests give every holder with an equal configuration the same
// running source, and the last Release stops it. So a server that is
// reconfigured keeps its index, does not list anew, and loses nothing while
// the API server is away.
//
// # Memory
//
// Raw objects are many times the size of their values, so none outlives its
// conversion. Initial lists are streamed by WatchList and converted event by
// event, through cache.TransformingStore. Where the API server does not offer
// that, a list is decoded from its body one item at a time (see decodeList).
// Watch events are converted as they come.
//
// The package neither logs nor registers metrics. It returns errors, and
// Feed.Status tells the rest.
package kube
