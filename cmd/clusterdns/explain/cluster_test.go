package explain

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// cluster is what an API server without WatchList has, by path.
var cluster = map[string]string{
	"/api/v1/namespaces": `{"kind":"NamespaceList","apiVersion":"v1","metadata":{"resourceVersion":"40"},"items":[{"metadata":{"name":"shop","resourceVersion":"11"}}]}`,
	"/api/v1/services": `{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"40"},"items":[
		{"metadata":{"namespace":"shop","name":"db","resourceVersion":"12"},"spec":{"clusterIP":"None","clusterIPs":["None"],"ports":[{"name":"pg","port":5432,"protocol":"TCP"}]}}]}`,
	"/apis/discovery.k8s.io/v1/endpointslices": `{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"40"},"items":[
		{"metadata":{"namespace":"shop","name":"db-1","resourceVersion":"13","labels":{"kubernetes.io/service-name":"db"}},"addressType":"IPv4",
		"ports":[{"name":"pg","port":5432,"protocol":"TCP"}],"endpoints":[{"addresses":["10.244.0.1"],"conditions":{"ready":true}}]}]}`,
	"/api/v1/namespaces/shop/pods/cart": `{"kind":"Pod","apiVersion":"v1","metadata":{"namespace":"shop","name":"cart"},"spec":{"containers":[],"dnsPolicy":"ClusterFirst","dnsConfig":{"options":[{"name":"ndots","value":"2"}]}}}`,
	"/api/v1/namespaces/shop/pods/node": `{"kind":"Pod","apiVersion":"v1","metadata":{"namespace":"shop","name":"node"},"spec":{"containers":[],"hostNetwork":true}}`,
}

// The objects and the pod are the API server's, with their resourceVersions.
func TestKubeconfig(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		w.Header().Set("Content-Type", "application/json")
		body, ok := cluster[r.URL.Path]
		switch {
		case q.Get("sendInitialEvents") != "":
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
		case q.Get("watch") != "":
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case !ok:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"pods \"none\" not found","reason":"NotFound","code":404}`)
		default:
			fmt.Fprint(w, body)
		}
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	config := kubeconfig(t, s.URL)
	out, status, err := execute(t, "db", "--from", "shop/cart", "--type", "A", "-o", "json", "--kubeconfig", config, "--context", "c")
	var r Report
	if status != 0 || json.Unmarshal([]byte(out), &r) != nil {
		t.Fatalf("status %d, %v: %s", status, err, out)
	}
	objects := []Object{{"services", "shop", "db", "12"}, {"endpointslices", "shop", "db-1", "13"}}
	if len(r.Questions) != 1 || fmt.Sprint(r.Questions[0].Objects) != fmt.Sprint(objects) || r.Ndots != 2 || r.Contact == nil {
		t.Errorf("%s", out)
	}
	for _, row := range []struct {
		pod, want string
	}{
		{"node", "pod shop/node has the host's network"},
		{"none", `pod shop/none: pods "none" not found`},
	} {
		if _, status, err := execute(t, "db", "--from", "shop/"+row.pod, "--kubeconfig", config); status != 2 || err == nil || !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("%s: status %d, %v", row.pod, status, err)
		}
	}
}
