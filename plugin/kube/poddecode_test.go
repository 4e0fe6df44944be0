package kube

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// fullPod is a pod as clusters have them: two containers with probes,
// variables and volumes, four managers of fields.
func fullPod(name, ip string) *corev1.Pod {
	p := pod(name, ip)
	p.ResourceVersion, p.UID, p.GenerateName = "4711", "1b2c", "web-"
	p.CreationTimestamp = metav1.NewTime(time.Unix(1_700_000_000, 0))
	p.Labels = map[string]string{"app": "web", "pod-template-hash": "5d4f8c7b9", "app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "web-1"}
	p.Annotations = map[string]string{"checksum/config": strings.Repeat("0123456789abcdef", 4), "prometheus.io/scrape": "true"}
	fields := new(metav1.FieldsV1)
	fields.SetRawString(`{"f:spec":{` + strings.Repeat(`"f:containers":{"k:{\"name\":\"web\"}":{".":{}}},`, 12) + `}}`)
	for i := range 4 {
		p.ManagedFields = append(p.ManagedFields, metav1.ManagedFieldsEntry{
			Manager: fmt.Sprint("manager-", i), Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1",
			FieldsType: "FieldsV1", FieldsV1: fields,
		})
	}
	for i := range 2 {
		c := corev1.Container{Name: fmt.Sprint("c", i), Image: "registry.example/web@sha256:" + strings.Repeat("ab", 32),
			Resources:      corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": apiresource.MustParse("100m"), "memory": apiresource.MustParse("128Mi")}},
			LivenessProbe:  &corev1.Probe{PeriodSeconds: 10, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz"}}},
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 10, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz"}}},
		}
		for v := range 10 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprint("VARIABLE_", v), Value: "a value"})
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: fmt.Sprint("volume-", v), MountPath: "/mnt"})
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, Ready: true, Image: c.Image, ImageID: c.Image})
	}
	for v := range 10 {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: fmt.Sprint("volume-", v)})
	}
	for _, c := range []corev1.PodConditionType{"PodScheduled", "Initialized", "ContainersReady", "Ready"} {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: c, Status: "True", LastTransitionTime: p.CreationTimestamp})
	}
	p.Status.PodIP, p.Status.HostIP = ip, "192.0.2.1"
	p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: "2001:db8::1"})
	return p
}

func podBytes(t testing.TB, p *corev1.Pod) []byte {
	t.Helper()
	data, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// samePod fails the test if the two decoders do not agree on data.
func samePod(t *testing.T, data []byte) {
	t.Helper()
	got := new(corev1.Pod)
	if decodePod(got, data) != nil {
		return // the generated decoder judges
	}
	want := new(corev1.Pod)
	if want.Unmarshal(data) != nil {
		return // there is a fault in what is skipped
	}
	gotValue, wantValue := new(converter).value(got), new(converter).value(want)
	if !reflect.DeepEqual(gotValue, wantValue) {
		t.Errorf("% x:\ngot  %+v\nwant %+v", data, gotValue, wantValue)
	}
	if got.Annotations[metav1.InitialEventsAnnotationKey] != want.Annotations[metav1.InitialEventsAnnotationKey] {
		t.Errorf("% x: annotations %v, want %v", data, got.Annotations, want.Annotations)
	}
}

func TestDecodePod(t *testing.T) {
	whole := podBytes(t, fullPod("web-0", "10.1.0.1"))
	if err := decodePod(new(corev1.Pod), whole); err != nil {
		t.Fatal(err)
	}
	bookmark := new(corev1.Pod)
	bookmark.Annotations = map[string]string{"a": "b", metav1.InitialEventsAnnotationKey: "true"}
	ended := pod("job-0", "10.1.0.2")
	ended.Status.Phase = corev1.PodFailed
	old := pod("old", "")
	old.Status.PodIP, old.Status.PodIPs = "10.1.0.3", nil
	for _, data := range [][]byte{nil, whole, podBytes(t, old), podBytes(t, bookmark), podBytes(t, ended), podBytes(t, pod("a", "")),
		append(podBytes(t, pod("a", "10.1.0.1")), podBytes(t, fullPod("b", "10.1.0.2"))...), // merged
	} {
		samePod(t, data)
		for n := range data {
			samePod(t, data[:n])
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	small := podBytes(t, old)
	small = append(small, podBytes(t, bookmark)...)
	for range 20_000 {
		data := bytes.Clone(small)
		for range 1 + rnd.IntN(3) {
			data[rnd.IntN(len(data))] = byte(rnd.UintN(256))
		}
		samePod(t, data)
	}
	// What is not understood is the generated decoder's.
	if err := decodePod(new(corev1.Pod), protowire.AppendVarint(protowire.AppendTag(nil, podStatus, protowire.VarintType), 1)); err == nil {
		t.Error("no error")
	}
}

func FuzzDecodePod(f *testing.F) {
	f.Add(podBytes(f, fullPod("web-0", "10.1.0.1")))
	f.Add(append(podBytes(f, pod("a", "10.1.0.1")), podBytes(f, pod("b", "10.1.0.2"))...))
	f.Fuzz(samePod)
}

// The serializer gives way to client-go's for everything but pods.
func TestPodSerializer(t *testing.T) {
	info, _ := runtime.SerializerInfoForMediaType(podCodecs{codecs.WithoutConversion()}.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	plain, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	full := fullPod("web-0", "10.1.0.1")
	body := encode(t, runtime.ContentTypeProtobuf, full)
	o, kind, err := info.Serializer.Decode(body, nil, nil)
	p, ok := o.(*corev1.Pod)
	if err != nil || !ok || *kind != podKind || p.Name != "web-0" {
		t.Fatalf("%T, %v, %v", o, kind, err)
	}
	if len(p.Spec.Containers) > 0 || len(p.ManagedFields) > 0 {
		t.Error("decoded whole")
	}
	status := encode(t, runtime.ContentTypeProtobuf, &metav1.Status{Message: "gone"})
	broken := bytes.Clone(body)
	broken = append(broken, 0xff)
	for _, data := range [][]byte{status, encode(t, runtime.ContentTypeProtobuf, namespace("shop")), broken, nil, []byte("k8s\x00")} {
		got, gotKind, gotErr := info.Serializer.Decode(data, nil, nil)
		want, wantKind, wantErr := plain.Serializer.Decode(data, nil, nil)
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(gotKind, wantKind) || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
			t.Errorf("%q: %v %v %v, want %v %v %v", data, got, gotKind, gotErr, want, wantKind, wantErr)
		}
	}
	into := new(corev1.Pod)
	if _, _, err := info.Serializer.Decode(body, nil, into); err != nil || len(into.Spec.Containers) != 2 {
		t.Errorf("into a pod: %v", err)
	}
}

// A feed's pods are decoded in part, in lists and in watches.
func TestPodsAreDecodedInPart(t *testing.T) {
	bothWays(t, func(t *testing.T, api *apiServer) {
		api.set(fullPod("web-0", "10.1.0.1"))
		c := api.config()
		c.Pods = true
		f := acquireSynced(t, c)
		api.set(fullPod("web-1", "10.1.0.2"))
		eventually(t, "both", func() bool { return f.Index().Objects(zone.Pods) == 2 })
		for _, addr := range addrs("10.1.0.1", "10.1.0.2", "2001:db8::1") {
			if p := f.Index().PodAt(addr); p == nil || p.Labels["app"] != "web" {
				t.Errorf("%v is %+v", addr, p)
			}
		}
		r := &reflection{resource: resources[zone.Pods], clients: f.src.clients[zone.Pods], bounds: bounds{}.orDefault(),
			store: newStore(zone.Pods, zone.NewWriter(), new(converter), nil)}
		w, err := r.watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		if e := <-w.ResultChan(); len(e.Object.(*corev1.Pod).Spec.Containers) > 0 {
			t.Error("decoded whole")
		}
	})
}

// BenchmarkPodEvent is of a watch event that changes nothing: from the frame to
// the Writer, which finds that it holds the value.
func BenchmarkPodEvent(b *testing.B) {
	full := fullPod("web-0", "10.1.0.1")
	plain := codecs.WithoutConversion()
	for _, way := range []struct {
		name   string
		codecs runtime.NegotiatedSerializer
	}{{"partial", podCodecs{plain}}, {"generated", plain}} {
		info, _ := runtime.SerializerInfoForMediaType(way.codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
		body, err := runtime.Encode(codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), full)
		if err != nil {
			b.Fatal(err)
		}
		var frame bytes.Buffer
		event, err := runtime.Encode(codecs.EncoderForVersion(info.StreamSerializer.Serializer, corev1.SchemeGroupVersion),
			&metav1.WatchEvent{Type: "MODIFIED", Object: runtime.RawExtension{Raw: body}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := info.StreamSerializer.Framer.NewFrameWriter(&frame).Write(event); err != nil {
			b.Fatal(err)
		}
		st := newStore(zone.Pods, zone.NewWriter(), new(converter), nil)
		decoder := way.codecs.DecoderToVersion(info.Serializer, corev1.SchemeGroupVersion)
		buf := make([]byte, 1<<20)
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(frame.Len()))
			for b.Loop() {
				frames := info.StreamSerializer.Framer.NewFrameReader(io.NopCloser(bytes.NewReader(frame.Bytes())))
				n, err := frames.Read(buf)
				if err != nil {
					b.Fatal(err)
				}
				var e metav1.WatchEvent
				if _, _, err := info.StreamSerializer.Decode(buf[:n], nil, &e); err != nil {
					b.Fatal(err)
				}
				o, err := runtime.Decode(decoder, e.Object.Raw)
				if err != nil {
					b.Fatal(err)
				}
				if err := st.Update(o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
