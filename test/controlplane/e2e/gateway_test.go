package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/miekg/dns"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// The modules whose CustomResourceDefinitions TestGateway takes, as their
// projects publish them. Nothing of them is compiled.
const (
	gatewayModule     = "sigs.k8s.io/gateway-api@v1.4.0"
	externalDNSModule = "sigs.k8s.io/external-dns@v0.19.0"
)

// gatewayZone is the zone of TestGateway's host names.
const gatewayZone = "gateway.test."

// TestGateway answers host names of Ingresses before the Gateway API and
// ExternalDNS have come to the cluster, of all kinds while they are there, and of
// Ingresses after they have gone; all that under the permissions that
// docs/k8s_gateway.md asks for, and no others.
func TestGateway(t *testing.T) {
	s := newSpace(t, client)
	allowGateway(t, s)
	server := newServer(t, config{
		stanza: []string{"kubeconfig " + cluster.Kubeconfig()},
		blocks: fmt.Sprintf("%s:$PORT {\n\tbind 127.0.0.1\n\terrors\n\tk8s_gateway {\n\t\tkubeconfig %s\n\t\tresources %s\n\t}\n}\n",
			gatewayZone, s.kubeconfig("gateway"), "Ingress Service Gateway HTTPRoute GRPCRoute TLSRoute DNSEndpoint"),
	})
	objects := newObjects(t, s)
	objects.apply(ingressText)
	if err := server.waitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	host := func(name string) question { return a(name + "." + gatewayZone) }
	absent := func(names ...string) {
		t.Helper()
		for _, name := range names {
			server.becomes(t, host(name), nxdomain)
		}
	}
	shop := host("shop")
	server.becomes(t, shop, addrText(shop, "192.0.2.1"))
	absent("http", "grpc", "tls", "gw", "endpoint")

	crds := append(crdsOf(t, gatewayModule, "config/crd/experimental/gateway.networking.k8s.io_"+"*.yaml"),
		crdsOf(t, externalDNSModule, "config/crd/standard/*.yaml")...)
	for _, crd := range crds {
		objects.create(crd)
	}
	objects.established(crds)
	objects.apply(gatewayText)
	for name, addr := range map[string]string{
		"gw": "192.0.2.20", "http": "192.0.2.20", "grpc": "192.0.2.20", "tls": "192.0.2.20", "endpoint": "192.0.2.30",
		"a.b.wild": "192.0.2.20",
	} {
		server.becomes(t, host(name), addrText(host(name), addr))
	}
	absent("refused")
	if err := server.checkReady(t.Context()); err != nil {
		t.Error(err)
	}

	// What changes changes the answer: a route that is no longer accepted, a
	// Gateway with another address.
	objects.apply(strings.ReplaceAll(gatewayText[strings.Index(gatewayText, "# http"):strings.Index(gatewayText, "# end of http")], "{{accepted}}", "{{refused}}"))
	absent("http")
	objects.apply(strings.ReplaceAll(gatewayText[:strings.Index(gatewayText, "# http")], "192.0.2.20", "192.0.2.21"))
	for _, name := range []string{"gw", "grpc", "tls"} {
		server.becomes(t, host(name), addrText(host(name), "192.0.2.21"))
	}

	for _, crd := range crds {
		objects.remove(crd)
	}
	absent("grpc", "tls", "gw", "endpoint")
	server.is(t, shop, addrText(shop, "192.0.2.1"))
	if err := server.checkReady(t.Context()); err != nil {
		t.Error(err)
	}
	if reply, err := server.exchange("udp", question{gatewayZone, dns.TypeSOA}); err != nil || len(reply.Answer) != 1 {
		t.Errorf("SOA: %v, %v", reply, err)
	}
}

const ingressText = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec: {rules: [{host: shop.gateway.test}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}
`

const gatewayText = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public}
spec: {gatewayClassName: test, listeners: [{name: a, port: 80, protocol: HTTP, hostname: gw.gateway.test}, {name: b, port: 8080, protocol: HTTP}]}
status: {addresses: [{type: IPAddress, value: 192.0.2.20}]}
---
# http
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: http}
spec: {hostnames: [http.gateway.test, "*.wild.gateway.test"], parentRefs: [{name: public}]}
status: {parents: [{controllerName: test.example/controller, parentRef: {name: public}, conditions: [{{accepted}}]}]}
# end of http
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: grpc}
spec: {hostnames: [grpc.gateway.test], parentRefs: [{name: public}]}
status: {parents: [{controllerName: test.example/controller, parentRef: {name: public}, conditions: [{{accepted}}]}]}
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TLSRoute
metadata: {name: tls}
spec: {hostnames: [tls.gateway.test], parentRefs: [{name: public}], rules: [{backendRefs: [{name: web, port: 443}]}]}
status: {parents: [{controllerName: test.example/controller, parentRef: {name: public}, conditions: [{{accepted}}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: refused}
spec: {hostnames: [refused.gateway.test], parentRefs: [{name: public}]}
---
apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata: {name: endpoint}
spec: {endpoints: [{dnsName: endpoint.gateway.test, recordType: A, targets: [192.0.2.30]}]}
`

const acceptedText = `{type: Accepted, status: "True", reason: Accepted, message: "", observedGeneration: 1, lastTransitionTime: "2026-01-01T00:00:00Z"}`

// allowGateway gives the service account gateway what docs/k8s_gateway.md asks for.
func allowGateway(t *testing.T, s *space) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/k8s_gateway.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := bytes.Cut(text, []byte("```yaml\n"))
	manifest, _, ok := bytes.Cut(after, []byte("```"))
	role := new(rbacv1.ClusterRole)
	if err := yaml.UnmarshalStrict(manifest, role); err != nil || !ok {
		t.Fatalf("the ClusterRole in docs/k8s_gateway.md: %v", err)
	}
	role.Name = s.name
	if _, err := client.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: s.name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.name, Name: "gateway"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// crdsOf returns the CustomResourceDefinitions in a module's files.
func crdsOf(t *testing.T, module, pattern string) (crds []*unstructured.Unstructured) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module).Output()
	if err != nil {
		t.Fatalf("go mod download %s: %v\n%s", module, err, out)
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal(out, &downloaded); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(downloaded.Dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no %s: %v", module, pattern, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range decode(t, string(text)) {
			if o.GetKind() == "CustomResourceDefinition" {
				crds = append(crds, o)
			}
		}
	}
	return crds
}

// decode returns the objects in a manifest.
func decode(t *testing.T, text string) (objects []*unstructured.Unstructured) {
	t.Helper()
	in := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		o := new(unstructured.Unstructured)
		err := in.Decode(&o.Object)
		if err == io.EOF {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}

// objects writes objects of any kind.
type objects struct {
	*testing.T
	*space
	client *dynamic.DynamicClient
}

func newObjects(t *testing.T, s *space) *objects {
	t.Helper()
	client, err := dynamic.NewForConfig(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	return &objects{t, s, client}
}

// of returns the client for o.
func (o *objects) of(object *unstructured.Unstructured) dynamic.ResourceInterface {
	kind := object.GroupVersionKind()
	plural := strings.ToLower(kind.Kind) + "s"
	if kind.Kind == "Ingress" {
		plural = "ingresses"
	}
	resource := o.client.Resource(schema.GroupVersionResource{Group: kind.Group, Version: kind.Version, Resource: plural})
	if kind.Kind == "CustomResourceDefinition" {
		return resource
	}
	return resource.Namespace(o.space.name)
}

func (o *objects) create(object *unstructured.Unstructured) {
	o.Helper()
	if _, err := o.of(object).Create(o.Context(), object, metav1.CreateOptions{}); err != nil {
		o.Fatalf("creating %s %s: %v", object.GetKind(), object.GetName(), err)
	}
}

func (o *objects) remove(object *unstructured.Unstructured) {
	o.Helper()
	if err := o.of(object).Delete(o.Context(), object.GetName(), metav1.DeleteOptions{}); err != nil {
		o.Fatal(err)
	}
}

// established waits until the API server serves the kinds that crds define.
func (o *objects) established(crds []*unstructured.Unstructured) {
	o.Helper()
	for _, crd := range crds {
		wait(o.T, crd.GetName(), func() error {
			now, err := o.of(crd).Get(o.Context(), crd.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			conditions, _, _ := unstructured.NestedSlice(now.Object, "status", "conditions")
			for _, c := range conditions {
				if c := c.(map[string]any); c["type"] == "Established" && c["status"] == "True" {
					return nil
				}
			}
			return fmt.Errorf("not established: %v", conditions)
		})
	}
}

// apply creates the objects in a manifest, or changes those that are there, and
// sets their status.
func (o *objects) apply(text string) {
	o.Helper()
	var b strings.Builder
	functions := template.FuncMap{
		"accepted": func() string { return acceptedText },
		"refused":  func() string { return strings.Replace(acceptedText, "True", "False", 1) },
	}
	if err := template.Must(template.New("").Funcs(functions).Parse(text)).Execute(&b, nil); err != nil {
		o.Fatal(err)
	}
	for _, object := range decode(o.T, b.String()) {
		status := object.Object["status"]
		delete(object.Object, "status")
		wait(o.T, object.GetKind()+" "+object.GetName(), func() error { // its storage may take a moment
			now, err := o.of(object).Get(o.Context(), object.GetName(), metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				now, err = o.of(object).Create(o.Context(), object, metav1.CreateOptions{})
			}
			if err != nil || status == nil {
				return err
			}
			now.Object["status"] = status
			_, err = o.of(object).UpdateStatus(o.Context(), now, metav1.UpdateOptions{})
			return err
		})
	}
}
