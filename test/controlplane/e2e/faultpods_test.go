package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

// fillPods puts pods into etcd, past the API server, which would take minutes, and
// returns questions for some of them. They stay until the test ends.
func (o *outage) fillPods(t *testing.T, n int) map[question]string {
	t.Helper()
	encoder := scheme.Codecs.EncoderForVersion(protobuf.NewSerializer(scheme.Scheme, scheme.Scheme), corev1.SchemeGroupVersion)
	prefix := "/registry/pods/" + o.space.name + "/"
	want := map[question]string{}
	type put struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
	}
	type request struct {
		Put put `json:"request_put"`
	}
	var batch []request
	for i := range n {
		addr := fmt.Sprintf("10.%d.%d.%d", 200+i>>16, i>>8&255, i&255)
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: o.space.name, Name: fmt.Sprint("pod-", i), UID: types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)),
				CreationTimestamp: metav1.Now(), Labels: map[string]string{"app": "web"}},
			Spec: corev1.PodSpec{NodeName: "node-0", RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst,
				Containers: []corev1.Container{{Name: "web", Image: "registry.example/web:1.0", Args: []string{strings.Repeat("x", 500)}}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: addr, PodIPs: []corev1.PodIP{{IP: addr}}},
		}
		value, err := runtime.Encode(encoder, pod)
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, request{put{[]byte(prefix + pod.Name), value}})
		if len(batch) == 100 || i == n-1 { // etcd takes 128
			o.etcd(t, "/v3/kv/txn", map[string]any{"success": batch})
			batch = batch[:0]
		}
		if i%(n/10) == 0 {
			q := a(dashed(addr) + "." + o.space.name + ".pod.cluster.local.")
			want[q] = addrText(q, addr)
		}
	}
	t.Cleanup(func() {
		end := []byte(prefix)
		end[len(end)-1]++
		o.etcd(t, "/v3/kv/deleterange", map[string]any{"key": []byte(prefix), "range_end": end})
	})
	return want
}

// etcd makes a request to etcd's JSON API.
func (o *outage) etcd(t *testing.T, path string, request any) {
	t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	url := ""
	for _, arg := range o.Etcd.Args {
		if rest, ok := strings.CutPrefix(arg, "--listen-client-urls="); ok {
			url = rest
		}
	}
	answer, err := http.Post(url+path, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("etcd: %s", answer.Status)
	}
}
