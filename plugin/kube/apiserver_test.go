package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/freeport"
)

// apiServer is as much of an API server as a feed needs: lists (whole), watches
// and WatchLists of the resources, in protobuf or JSON as asked for, but custom
// resources in JSON alone.
type apiServer struct {
	t         *testing.T
	addr      string
	server    *httptest.Server
	watchList bool

	mu        sync.Mutex
	changed   *sync.Cond
	version   int
	compacted int // watches from before this version are too old
	objects   map[zone.Resource]map[zone.Key]object
	history   []change
	requests  []string // "list services", "watch pods", ...
	headers   http.Header
	forbidden map[zone.Resource]bool
	imports   []string         // versions of ServiceImports that are served
	faults    map[string]fault // by request
	token     string           // that requests must have; empty for none
	down      bool
}

// fault is what is wrong with the answers to a request.
type fault int

const (
	inOrder fault = iota
	mute          // there is no answer as long as that is wrong, and then none at all
	silent        // nothing is sent behind the header; in a list, behind some bytes
	endless       // a WatchList has no bookmark at its end
	cut           // the connection ends behind the first event; in a list, half way
	garbled       // a list has an item that is none
)

// expired is the event with which a watch ends that cannot go on.
const expired = watch.EventType("EXPIRED")

// fail makes the requests faulty from now on, open watches included.
func (a *apiServer) fail(f fault, requests ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.faults == nil {
		a.faults = map[string]fault{}
	}
	for _, r := range requests {
		a.faults[r] = f
	}
	a.changed.Broadcast()
}

// change is a watch event; raw is nil for a bookmark.
type change struct {
	resource zone.Resource
	event    watch.EventType
	raw      object
	version  int
}

func newAPIServer(t *testing.T, watchList bool) *apiServer {
	a := &apiServer{t: t, watchList: watchList, version: 1, addr: "127.0.0.1:" + freeport.Of(t), imports: []string{"v1alpha1"},
		objects: map[zone.Resource]map[zone.Key]object{}, forbidden: map[zone.Resource]bool{}}
	a.changed = sync.NewCond(&a.mu)
	a.start()
	t.Cleanup(a.stop)
	return a
}

// config is of a feed that is in a hurry.
func (a *apiServer) config() Config {
	return Config{Endpoint: "http://" + a.addr, QPS: 1000, Burst: 1000, delays: hurry}
}

// hurry are delays that a test waits for.
var hurry = delays{first: 5 * time.Millisecond, away: 20 * time.Millisecond, unauthorized: 20 * time.Millisecond, refused: 40 * time.Millisecond}

// start listens again after stop, at the same address.
func (a *apiServer) start() {
	l, err := net.Listen("tcp", a.addr)
	if err != nil {
		a.t.Fatal(err)
	}
	a.mu.Lock()
	a.down = false
	a.mu.Unlock()
	a.server = httptest.NewUnstartedServer(a)
	a.server.Listener.Close()
	a.server.Listener = l
	a.server.Start()
}

// stop breaks all connections and refuses new ones.
func (a *apiServer) stop() {
	a.mu.Lock()
	a.down = true
	a.changed.Broadcast()
	a.mu.Unlock()
	a.server.CloseClientConnections()
	a.server.Close()
}

// set adds or modifies an object, and returns its version.
func (a *apiServer) set(raw object) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, k := resourceOf(raw), zone.Key{Namespace: raw.GetNamespace(), Name: raw.GetName()}
	a.version++
	raw = raw.DeepCopyObject().(object)
	raw.SetResourceVersion(strconv.Itoa(a.version))
	event := watch.Added
	if a.objects[r] == nil {
		a.objects[r] = map[zone.Key]object{}
	}
	if a.objects[r][k] != nil {
		event = watch.Modified
	}
	a.objects[r][k] = raw
	a.history = append(a.history, change{r, event, raw, a.version})
	a.changed.Broadcast()
	return a.version
}

func (a *apiServer) delete(r zone.Resource, k zone.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	raw := a.objects[r][k].DeepCopyObject().(object)
	delete(a.objects[r], k)
	a.version++
	raw.SetResourceVersion(strconv.Itoa(a.version))
	a.history = append(a.history, change{r, watch.Deleted, raw, a.version})
	a.changed.Broadcast()
}

// bookmark sends one on every watch of r.
func (a *apiServer) bookmark(r zone.Resource) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	a.history = append(a.history, change{r, watch.Bookmark, nil, a.version})
	a.changed.Broadcast()
	return a.version
}

func (a *apiServer) forbid(r zone.Resource, yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forbidden[r] = yes
}

// compact makes every version until now too old to watch from.
func (a *apiServer) compact() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	a.compacted = a.version
}

// requested returns how often a request was made.
func (a *apiServer) requested(what string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.requests {
		if r == what {
			n++
		}
	}
	return n
}

// header returns a header of the last request.
func (a *apiServer) header(name string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.headers.Get(name)
}

func resourceOf(raw object) zone.Resource {
	for _, r := range resources {
		if fmt.Sprintf("%T", r.new()) == fmt.Sprintf("%T", raw) {
			return r.id
		}
	}
	panic(fmt.Sprintf("no resource for %T", raw))
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var res resource
	for _, r := range resources {
		if r.id == zone.ServiceImports && strings.Contains(req.URL.Path, "/"+oldImportGroup.Version+"/") {
			r.group = oldImportGroup
		}
		if strings.HasSuffix(req.URL.Path, "/"+r.group.Version+"/"+r.id.String()) &&
			strings.HasPrefix(req.URL.Path, strings.ReplaceAll("/apis/"+r.group.Group+"/", "s//", "/")) {
			res = r
		}
	}
	if res.new == nil || res.fields != req.URL.Query().Get("fieldSelector") {
		a.t.Errorf("unexpected request %s", req.URL)
		http.NotFound(w, req)
		return
	}
	q := req.URL.Query()
	verb := "list"
	switch {
	case q.Get("sendInitialEvents") == "true":
		verb = "watchlist"
	case q.Get("watch") != "":
		verb = "watch"
	}
	a.mu.Lock()
	a.requests = append(a.requests, verb+" "+res.id.String())
	if res.id == zone.ServiceImports {
		a.requests = append(a.requests, res.group.Version)
	}
	a.headers = req.Header.Clone()
	forbidden, absent := a.forbidden[res.id], res.id == zone.ServiceImports && !slices.Contains(a.imports, res.group.Version)
	compacted, down := a.compacted, a.down
	broken := a.faults[verb+" "+res.id.String()]
	unauthorized := a.token != "" && req.Header.Get("Authorization") != "Bearer "+a.token
	a.mu.Unlock()
	if unauthorized {
		a.refuse(w, apierrors.NewUnauthorized("Unauthorized"))
		return
	}
	if broken == mute {
		defer a.wakeAtEnd(req)()
		a.mu.Lock()
		for req.Context().Err() == nil && a.faults[verb+" "+res.id.String()] == mute {
			a.changed.Wait()
		}
		a.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	if down {
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	from, _ := strconv.Atoi(q.Get("resourceVersion"))
	group := schema.GroupResource{Group: res.group.Group, Resource: res.id.String()}
	switch {
	case absent:
		http.NotFound(w, req)
	case forbidden:
		a.refuse(w, apierrors.NewForbidden(group, "", fmt.Errorf("user \"dns\" may not")))
	case verb == "watchlist" && !a.watchList:
		a.refuse(w, apierrors.NewInvalid(schema.GroupKind{Kind: "ListOptions"}, "", nil))
	case verb == "watch" && from < compacted:
		a.refuse(w, apierrors.NewResourceExpired("too old resource version"))
	case verb == "list":
		a.list(w, req, res, broken)
	default:
		a.watch(w, req, res, from, verb)
	}
}

func (a *apiServer) refuse(w http.ResponseWriter, err *apierrors.StatusError) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(err.ErrStatus.Code))
	encoder := codecs.LegacyCodec(schema.GroupVersion{Version: "v1"})
	if err := encoder.Encode(&err.ErrStatus, w); err != nil {
		a.t.Error(err)
	}
}

// info returns the serializer that the client prefers.
func (a *apiServer) info(req *http.Request, res resource) runtime.SerializerInfo {
	accept, second, _ := strings.Cut(req.Header.Get("Accept"), ",")
	if _, ok := res.new().(protobufObject); !ok {
		accept = second
	}
	media, _, _ := strings.Cut(accept, ";")
	info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), media)
	if !ok {
		a.t.Errorf("no serializer for %q", accept)
	}
	return info
}

// sorted returns the objects of a resource.
func (a *apiServer) sorted(r zone.Resource) []object {
	return slices.SortedFunc(maps.Values(a.objects[r]), func(x, y object) int { return strings.Compare(x.GetName(), y.GetName()) })
}

func (a *apiServer) list(w http.ResponseWriter, req *http.Request, res resource, broken fault) {
	a.mu.Lock()
	list := res.list.DeepCopyObject()
	var items []runtime.Object
	for _, raw := range a.sorted(res.id) {
		items = append(items, raw)
	}
	list.(metav1.ListInterface).SetResourceVersion(strconv.Itoa(a.version))
	a.mu.Unlock()
	if err := meta.SetList(list, items); err != nil {
		a.t.Error(err)
	}
	info := a.info(req, res)
	w.Header().Set("Content-Type", info.MediaType)
	body, err := runtime.Encode(codecs.EncoderForVersion(info.Serializer, res.group), list)
	if err != nil {
		a.t.Error(err)
	}
	switch broken {
	case cut:
		_, _ = w.Write(body[:len(body)/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	case garbled:
		body = bytes.Replace(body, []byte("\n\x05web-5"), []byte("\x0f\x05web-5"), 1) // no such wire type
	case silent:
		_, _ = w.Write(body[:len(body)/2])
		w.(http.Flusher).Flush()
		<-req.Context().Done()
		return
	}
	_, _ = w.Write(body) // the client may be gone
}

// wakeAtEnd wakes who waits for changes when the client is gone, until the function
// is called.
func (a *apiServer) wakeAtEnd(req *http.Request) (stop func() bool) {
	return context.AfterFunc(req.Context(), func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.changed.Broadcast()
	})
}

func (a *apiServer) watch(w http.ResponseWriter, req *http.Request, res resource, from int, verb string) {
	what := verb + " " + res.id.String()
	info := a.info(req, res)
	w.Header().Set("Content-Type", info.MediaType+";stream=watch")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	frames := info.StreamSerializer.Framer.NewFrameWriter(w)
	send := func(event watch.EventType, raw object) {
		var o runtime.Object = raw
		if event == watch.Error {
			o = &apierrors.NewInternalError(errors.New("the store is on fire")).ErrStatus
		}
		if event == expired {
			event, o = watch.Error, &apierrors.NewResourceExpired("too old resource version").ErrStatus
		}
		embedded, err := runtime.Encode(codecs.EncoderForVersion(info.Serializer, schema.GroupVersions{res.group, {Version: "v1"}}), o)
		if err != nil {
			a.t.Error(err)
		}
		e := &metav1.WatchEvent{Type: string(event), Object: runtime.RawExtension{Raw: embedded}}
		frame, err := runtime.Encode(codecs.EncoderForVersion(info.StreamSerializer.Serializer, res.group), e)
		if err != nil {
			a.t.Error(err)
		}
		_, _ = frames.Write(frame) // the client may be gone
		w.(http.Flusher).Flush()
	}
	bookmark := func(version int, annotations map[string]string) {
		raw := res.new()
		raw.SetResourceVersion(strconv.Itoa(version))
		raw.SetAnnotations(annotations)
		send(watch.Bookmark, raw)
	}
	defer a.wakeAtEnd(req)()
	a.mu.Lock()
	defer a.mu.Unlock()
	if verb == "watchlist" && a.faults[what] != silent {
		for _, raw := range a.sorted(res.id) {
			send(watch.Added, raw)
			if a.faults[what] == cut {
				return
			}
		}
		from = a.version
		if a.faults[what] != endless {
			bookmark(from, map[string]string{metav1.InitialEventsAnnotationKey: "true"})
		}
	}
	for req.Context().Err() == nil && !a.down {
		for _, c := range a.history {
			if c.version <= from || c.resource != res.id || a.faults[what] == silent {
				continue
			}
			from = c.version
			if c.raw == nil {
				bookmark(c.version, nil)
				if a.faults[what] == cut {
					return
				}
				continue
			}
			if c.event == watch.Error || c.event == expired {
				send(c.event, nil)
				return
			}
			send(c.event, c.raw)
			if a.faults[what] == cut {
				return
			}
		}
		a.changed.Wait()
	}
}

// eventually fails the test if ok does not become true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func slice(name, service string, addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, AddressType: discoveryv1.AddressTypeIPv4}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	for _, addr := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{addr}})
	}
	return s
}
