package kube

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

func encode(t testing.TB, media string, list k8sruntime.Object) []byte {
	t.Helper()
	info, _ := k8sruntime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), media)
	body, err := k8sruntime.Encode(codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), list)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func someServices(n, annotation int) *corev1.ServiceList {
	list := &corev1.ServiceList{ListMeta: metav1.ListMeta{ResourceVersion: "99", Continue: "more", RemainingItemCount: ptr(int64(3))}}
	for i := range n {
		s := service(fmt.Sprintf("web-%d", i), "10.0.0.1")
		s.ResourceVersion = fmt.Sprint(i)
		s.Annotations = map[string]string{"big": strings.Repeat("x", annotation)}
		list.Items = append(list.Items, *s)
	}
	return list
}

func newService() object { return new(corev1.Service) }

func TestDecodeList(t *testing.T) {
	for _, media := range []string{k8sruntime.ContentTypeProtobuf, k8sruntime.ContentTypeJSON} {
		for _, n := range []int{0, 1, 300} {
			list := someServices(n, 1000)
			l, err := decodeList(bytes.NewReader(encode(t, media, list)), newService, new(converter))
			if err != nil {
				t.Errorf("%s: %v", media, err)
				continue
			}
			if !reflect.DeepEqual(l.ListMeta, list.ListMeta) {
				t.Errorf("%s: %+v, want %+v", media, l.ListMeta, list.ListMeta)
			}
			if len(l.Items) != n {
				t.Errorf("%s: %d items, want %d", media, len(l.Items), n)
			}
			for i, item := range l.Items {
				if want := new(converter).value(&list.Items[i]); !reflect.DeepEqual(item.(listed).Object, want) {
					t.Fatalf("%s: item %d is %+v, want %+v", media, i, item, want)
				}
			}
		}
	}
}

// A list of custom resources, as an API server writes it.
func TestDecodeListOfImports(t *testing.T) {
	const body = `{"apiVersion":"multicluster.x-k8s.io/v1alpha1","items":[
		{"apiVersion":"multicluster.x-k8s.io/v1alpha1","kind":"ServiceImport","metadata":{"name":"web","namespace":"shop","resourceVersion":"5"},
		 "spec":{"ips":["10.97.0.1"],"ports":[{"name":"http","port":80,"protocol":"TCP"}],"type":"ClusterSetIP"},"status":{"clusters":[{"cluster":"c1"}]}},
		{"apiVersion":"multicluster.x-k8s.io/v1alpha1","kind":"ServiceImport","metadata":{"name":"db","namespace":"shop","resourceVersion":"6"},"spec":{"ports":[],"type":"Headless"}}
		],"kind":"ServiceImportList","metadata":{"continue":"","resourceVersion":"8"}}`
	newImport := resources[zone.ServiceImports].new
	l, err := decodeList(strings.NewReader(body), newImport, new(converter))
	if err != nil {
		t.Fatal(err)
	}
	want := []k8sruntime.Object{
		listed{&zone.ServiceImport{Service: zone.Service{Key: zone.Key{Namespace: "shop", Name: "web"}, Version: 5, ClusterIPs: addrs("10.97.0.1"),
			Ports: []zone.Port{{Name: "http", Protocol: "TCP", Number: 80}}}}},
		listed{&zone.ServiceImport{Service: zone.Service{Key: zone.Key{Namespace: "shop", Name: "db"}, Version: 6, Kind: zone.Headless}}},
	}
	if l.ResourceVersion != "8" || !reflect.DeepEqual(l.Items, want) {
		t.Errorf("version %s, %+v", l.ResourceVersion, l.Items)
	}
	for n := range body {
		if _, err := decodeList(strings.NewReader(body[:n]), newImport, new(converter)); err == nil {
			t.Errorf("no error after %d of %d bytes", n, len(body))
		} else if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d of %d bytes: %v", n, len(body), err)
		}
	}
	for _, body := range []string{`{}`, `{"kind":"Status"}`, `{"items":{}}`, `{"items":[7]}`, `[]`, `null`, `{"items":[{"spec":{"ports":7}}]}`} {
		if l, err := decodeList(strings.NewReader(body), newImport, new(converter)); err == nil {
			t.Errorf("%s: %+v", body, l)
		}
	}
	if l, err := decodeList(strings.NewReader(`{"items":null,"x":{"y":[1]}}`), newImport, new(converter)); err != nil || len(l.Items) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := decodeList(strings.NewReader("k8s\x00"), newImport, new(converter)); err == nil {
		t.Error("a custom resource in protobuf")
	}
}

func TestDecodeListOfWhatIsNotKept(t *testing.T) {
	list := &corev1.PodList{Items: []corev1.Pod{*pod("a", "10.1.0.1"), *pod("b", "10.1.0.2")}}
	list.Items[0].Status.Phase = corev1.PodFailed
	l, err := decodeList(bytes.NewReader(encode(t, k8sruntime.ContentTypeProtobuf, list)), func() object { return new(corev1.Pod) }, new(converter))
	if err != nil || len(l.Items) != 1 || l.Items[0].(listed).ObjectKey().Name != "b" {
		t.Errorf("%+v, %v", l, err)
	}
}

// Wherever a body is cut off, that is an error and not a shorter list.
func TestDecodeListCutShort(t *testing.T) {
	body := encode(t, k8sruntime.ContentTypeProtobuf, someServices(3, 10))
	// The empty contentEncoding and contentType at the end may be missing.
	tail := []byte{3<<3 | 2, 0, 4<<3 | 2, 0}
	body, ok := bytes.CutSuffix(body, tail)
	if !ok {
		t.Fatalf("body ends in % x", body[len(body)-8:])
	}
	for n := range body {
		if _, err := decodeList(bytes.NewReader(body[:n]), newService, new(converter)); err == nil {
			t.Errorf("no error after %d of %d bytes", n, len(body))
		} else if n > 20 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d of %d bytes: %v", n, len(body), err)
		}
	}
	if _, err := decodeList(bytes.NewReader(body), newService, new(converter)); err != nil {
		t.Error(err)
	}
}

func FuzzDecodeList(f *testing.F) {
	f.Add(encode(f, k8sruntime.ContentTypeProtobuf, someServices(2, 10)))
	f.Add(encode(f, k8sruntime.ContentTypeJSON, someServices(2, 10)))
	f.Add([]byte("k8s\x00\x12\xff\xff\xff\xff\xff\x01\x12\xff\xff\xff\xff\x01"))
	info, _ := k8sruntime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), k8sruntime.ContentTypeProtobuf)
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decodeList(bytes.NewReader(body), newService, new(converter))
		if err != nil || !bytes.HasPrefix(body, protobufMagic) {
			return
		}
		// What client-go takes for a list of services is the same list.
		o, _, err := info.Serializer.Decode(body, nil, new(corev1.ServiceList))
		if err != nil {
			return
		}
		if want, ok := o.(*corev1.ServiceList); ok && len(want.Items) != len(got.Items) {
			t.Errorf("%d items, client-go has %d", len(got.Items), len(want.Items))
		}
	})
}

// meteredReader measures the heap when most of the body has been read.
type meteredReader struct {
	io.Reader
	at, read int
	heap     uint64
}

func (r *meteredReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if r.read += n; r.heap == 0 && r.read >= r.at {
		r.heap = heapInUse()
	}
	return n, err
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A list of 20 MB is never in memory as such.
func TestDecodeListMemory(t *testing.T) {
	for _, media := range []string{k8sruntime.ContentTypeProtobuf, k8sruntime.ContentTypeJSON} {
		t.Run(media, func(t *testing.T) { testDecodeListMemory(t, media) })
	}
}

func testDecodeListMemory(t *testing.T, media string) {
	const n, annotation = 2000, 10 << 10
	body := encode(t, media, someServices(n, annotation))
	base := heapInUse()
	in := &meteredReader{Reader: bytes.NewReader(body), at: len(body) * 9 / 10}
	l, err := decodeList(in, newService, new(converter))
	if err != nil {
		t.Fatal(err)
	}
	// 64-bit arithmetic: the heap may have shrunk.
	grown := int64(in.heap) - int64(base)
	t.Logf("heap grew by %d KiB while reading %d KiB", grown>>10, len(body)>>10)
	if grown > 2<<20 {
		t.Errorf("heap grew by %d bytes while reading %d", grown, len(body))
	}
	runtime.KeepAlive(body)
	runtime.KeepAlive(l)
}

func BenchmarkDecodeList(b *testing.B) {
	body := encode(b, k8sruntime.ContentTypeProtobuf, someServices(1000, 1000))
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := decodeList(bytes.NewReader(body), newService, new(converter)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkConvertSlice is of the slice of a large service: 100 endpoints.
func BenchmarkConvertSlice(b *testing.B) {
	var ips []string
	for i := range 100 {
		ips = append(ips, fmt.Sprintf("10.1.%d.%d", i/10, i))
	}
	raw := slice("web-1", "web", ips...)
	conv := new(converter)
	b.ReportAllocs()
	for b.Loop() {
		conv.value(raw)
	}
}
