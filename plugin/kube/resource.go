package kube

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/metrics"
	"k8s.io/klog/v2"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// object is a raw object: one of the types in resources.
type object interface {
	runtime.Object
	metav1.Object
}

// protobufObject is an object with a protobuf form. Custom resources have none,
// and API servers send them as JSON.
type protobufObject interface {
	object
	Reset()
	Unmarshal([]byte) error
}

// resource says how to ask an API server for the objects of a zone.Resource.
type resource struct {
	id     zone.Resource
	group  schema.GroupVersion
	new    func() object
	list   runtime.Object        // its type is that of a list
	fields string                // field selector
	older  []schema.GroupVersion // followed where group is not served; what is read of them is the same
	kind   string                // of custom resources, whose types do not say it
	// optional resources may come and go (they have a CustomResourceDefinition):
	// where there are none, there is no object.
	optional bool
}

// versions returns the versions of r, the newest first.
func (r resource) versions() []schema.GroupVersion {
	return append([]schema.GroupVersion{r.group}, r.older...)
}

// podFields leaves out, on the API server, the pods that answer nothing. As
// their phase changes, a watch reports them as deleted.
const podFields = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"

// resources has a row for each zone.Resource, at its index.
var resources = [...]resource{
	zone.Namespaces: {id: zone.Namespaces, group: corev1.SchemeGroupVersion,
		new: func() object { return new(corev1.Namespace) }, list: new(corev1.NamespaceList)},
	zone.Services: {id: zone.Services, group: corev1.SchemeGroupVersion,
		new: func() object { return new(corev1.Service) }, list: new(corev1.ServiceList)},
	zone.EndpointSlices: {id: zone.EndpointSlices, group: discoveryv1.SchemeGroupVersion,
		new: func() object { return new(discoveryv1.EndpointSlice) }, list: new(discoveryv1.EndpointSliceList)},
	zone.Pods: {id: zone.Pods, group: corev1.SchemeGroupVersion,
		new: func() object { return new(corev1.Pod) }, list: new(corev1.PodList), fields: podFields},
	zone.ServiceImports: {id: zone.ServiceImports, group: importGroup, older: []schema.GroupVersion{oldImportGroup},
		new: func() object { return new(mcsv1alpha1.ServiceImport) }, list: new(mcsv1alpha1.ServiceImportList)},
	zone.Ingresses: {id: zone.Ingresses, group: networkingv1.SchemeGroupVersion,
		new: func() object { return new(networkingv1.Ingress) }, list: new(networkingv1.IngressList)},
	zone.Gateways:     customResource(zone.Gateways, "Gateway", func() object { return new(gateway) }, gatewayAPI, "v1", "v1beta1", "v1alpha2"),
	zone.HTTPRoutes:   customResource(zone.HTTPRoutes, "HTTPRoute", func() object { return new(httpRoute) }, gatewayAPI, "v1", "v1beta1", "v1alpha2"),
	zone.GRPCRoutes:   customResource(zone.GRPCRoutes, "GRPCRoute", func() object { return new(grpcRoute) }, gatewayAPI, "v1", "v1alpha2"),
	zone.TLSRoutes:    customResource(zone.TLSRoutes, "TLSRoute", func() object { return new(tlsRoute) }, gatewayAPI, "v1", "v1alpha3", "v1alpha2"),
	zone.DNSEndpoints: customResource(zone.DNSEndpoints, "DNSEndpoint", func() object { return new(dnsEndpoint) }, "externaldns.k8s.io", "v1alpha1"),
}

// customResource returns the row of a custom resource, with its versions, the newest first.
func customResource(id zone.Resource, kind string, new func() object, group string, versions ...string) resource {
	r := resource{id: id, kind: kind, new: new, list: &customList{}, optional: true}
	r.group = schema.GroupVersion{Group: group, Version: versions[0]}
	for _, version := range versions[1:] {
		r.older = append(r.older, schema.GroupVersion{Group: group, Version: version})
	}
	return r
}

// importGroup is the newest version of the Multi-Cluster Services API, and
// oldImportGroup the one before, which says the same in the same fields. It is
// followed where the newest is not served.
var (
	importGroup    = schema.GroupVersion{Group: mcsv1alpha1.GroupName, Version: "v1beta1"}
	oldImportGroup = schema.GroupVersion{Group: mcsv1alpha1.GroupName, Version: "v1alpha1"}
)

// codecs knows the types in resources and no others: client-go's own scheme
// would link every API group there is.
var codecs = serializer.NewCodecFactory(func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	added := map[schema.GroupVersion]bool{}
	for _, r := range resources {
		for _, version := range r.versions() {
			if r.kind == "" {
				scheme.AddKnownTypes(version, r.new(), r.list)
			} else {
				scheme.AddKnownTypeWithName(version.WithKind(r.kind), r.new())
				scheme.AddKnownTypeWithName(version.WithKind(r.kind+"List"), r.list)
			}
			if !added[version] {
				added[version] = true
				metav1.AddToGroupVersion(scheme, version)
			}
		}
	}
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, new(corev1.List)) // of manifests
	return scheme
}())

// reflection follows one resource of an API server.
type reflection struct {
	resource
	labels  string // label selector
	clients []rest.Interface
	store   *store
	bounds  bounds
	delays  delays

	version atomic.Int32 // the client in use

	answered time.Time             // when the last watch was
	delay    time.Duration         // before it
	listed   atomic.Bool           // the API server began to send all objects, in this attempt
	stall    atomic.Pointer[stall] // of the last WatchList; nil: it ended
	silent   atomic.Bool           // the last watch was, and there was no event since

	missing error // that there is no such resource, said to a WatchList; the list that follows need not ask
}

func (f *reflection) request(options metav1.ListOptions) *rest.Request {
	options.FieldSelector, options.LabelSelector = f.fields, f.labels
	return f.clients[f.version.Load()].Get().Resource(f.id.String()).VersionedParams(&options, metav1.ParameterCodec)
}

// served calls ask, which makes a request, and again with the other versions of
// the resource as long as there is none of the first.
func (f *reflection) served(ask func() error) error {
	err := ask()
	before, n := f.version.Load(), int32(len(f.clients))
	for i := int32(1); i < n && apierrors.IsNotFound(err); i++ {
		f.version.Store((before + i) % n)
		if ask() == nil {
			return nil
		}
		f.version.Store(before)
	}
	return err
}

// list is the reflector's way where WatchList is not to be had. The reflector
// asks for no pages when it knows a resourceVersion, and the API server
// ignores the limit on its first list (resourceVersion 0): both are answered
// whole from the watch cache and spare etcd, of which paging by force would
// make use on API servers before 1.34. So what keeps memory low is not paging
// but decoding the body as it comes.
func (f *reflection) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	if err := f.missing; err != nil {
		f.missing = nil
		return nil, err
	}
	var request *rest.Request
	start := time.Now()
	// client-go measures only requests whose answer it decodes.
	defer func() {
		metrics.RequestLatency.Observe(ctx, http.MethodGet, *request.URL(), time.Since(start))
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var body io.ReadCloser
	err := f.served(func() (err error) {
		request = f.request(options)
		body, err = request.Stream(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	f.listed.Store(true)
	f.store.contact()
	in := newBoundedReader(body, f.bounds.initial, cancel)
	defer in.silent.Stop()
	l, err := decodeList(in, f.new, f.store.conv)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	f.store.contact()
	return l, nil
}

func (f *reflection) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	initial := options.SendInitialEvents != nil
	if initial && f.stalled() {
		return nil, errors.New("the last WatchList did not end")
	}
	if !f.pace(ctx) {
		return nil, ctx.Err()
	}
	request, cancel := context.WithCancelCause(ctx)
	var body io.ReadCloser
	err := f.served(func() (err error) {
		body, err = f.request(options).Stream(request)
		return err
	})
	if err == nil {
		heard := f.store.heard.Load()
		f.answered = time.Now()
		if initial {
			f.listed.Store(true)
		}
		switch {
		case f.silent.Load():
		case initial:
			f.store.contact()
		default:
			f.store.follows()
		}
		return newStream(request, cancel, f, body, initial, heard), nil
	}
	cancel(nil)
	if initial && f.absent(err) {
		f.missing = err
	}
	// A WatchList is not to be tried for ever: perhaps a list gets an answer.
	if utilnet.IsProbableEOF(err) && !initial {
		err = errNoAnswer
	}
	// An API server that does not offer WatchList refuses the request. The
	// reflector lists then, and only that may fail.
	refused := apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)
	if ctx.Err() == nil && !(refused && initial) {
		f.ended(err)
	}
	return nil, err
}

// ended notes why a watch was refused, unless the resource is one that need not
// be there.
func (f *reflection) ended(err error) {
	if !f.absent(err) {
		f.store.ended(err)
	}
}

// absent reports whether err says that there is no such resource, and there need
// not be.
func (f *reflection) absent(err error) bool { return f.optional && apierrors.IsNotFound(err) }

// pace waits before a watch that follows soon upon another: the reflector
// itself does not wait after one that was cut off behind its first event. It is
// false if ctx ends.
func (f *reflection) pace(ctx context.Context) bool {
	if time.Since(f.answered) >= f.delays.good {
		f.delay = 0
		return true
	}
	f.delay = min(max(2*f.delay, f.delays.first), f.delays.away)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait.Jitter(f.delay, 1)):
		return true
	}
}

// errNoAnswer is a connection that broke, or a load balancer that closed it,
// before there was an answer. That is the same as a refused connection, after
// which the reflector tries to go on where it was.
var errNoAnswer error = noAnswer{}

type noAnswer struct{}

func (noAnswer) Error() string { return "connection closed before there was an answer" }
func (noAnswer) Unwrap() error { return syscall.ECONNREFUSED }

// run follows the resource until ctx is done.
func (f *reflection) run(ctx context.Context) {
	var silent klog.Logger // logging is up to the owner of the feed
	ctx = klog.NewContext(ctx, silent)
	// The reflector's own delay: it tries a refused watch again, on what it has,
	// without a new list.
	retry := wait.Backoff{Duration: f.delays.first, Factor: 2, Steps: 8, Cap: f.delays.away, Jitter: 1}
	r := cache.NewReflectorWithOptions(
		&cache.ListWatch{ListWithContextFunc: f.list, WatchFuncWithContext: f.watch},
		f.new(), f.store,
		cache.ReflectorOptions{Name: "clusterdns", TypeDescription: f.id.String(), Logger: &silent, Backoff: &retry})
	backoff := backoff{delays: f.delays}
	for {
		f.version.Store(0)
		f.listed.Store(false)
		f.store.replacedAt.Store(0)
		err := r.ListAndWatchWithContext(ctx)
		if ctx.Err() != nil {
			return
		}
		a := attempt{err: err, listed: f.listed.Load(), absent: f.absent(err)}
		if a.absent {
			f.store.absent()
		}
		if at := f.store.replacedAt.Load(); at != 0 {
			a.followed = time.Duration(moment() - at)
		}
		if err != nil && !a.absent && !(isExpired(err) && a.followed > 0) {
			f.store.fail(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait.Jitter(backoff.after(a), 1)):
		}
	}
}
