package differential

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/mcs-api/config/crd"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"
)

// importsPath is where the API server has the ServiceImports of a namespace.
func importsPath(ns string) string {
	return "/apis/" + mcs.GroupName + "/v1alpha1/namespaces/" + ns + "/serviceimports"
}

// installCRD makes the API server know ServiceImports.
func installCRD(ctx context.Context, client kubernetes.Interface) error {
	api := client.Discovery().RESTClient()
	err := api.Post().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").
		SetHeader("Content-Type", "application/yaml").Body(crd.ServiceImportCRD).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("creating the CRD of ServiceImports: %w", err)
	}
	for {
		_, err := listImports(ctx, client)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for ServiceImports to be served: %w: %w", ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func listImports(ctx context.Context, client kubernetes.Interface) ([]mcs.ServiceImport, error) {
	body, err := client.Discovery().RESTClient().Get().AbsPath("/apis/" + mcs.GroupName + "/v1alpha1/serviceimports").Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	var list mcs.ServiceImportList
	return list.Items, json.Unmarshal(body, &list)
}

// serviceImport makes a ServiceImport, which is headless if it has no ips.
func (w *world) serviceImport(ctx context.Context, ns, name string, ips []string, ports ...mcs.ServicePort) error {
	s := &mcs.ServiceImport{
		TypeMeta:   metav1.TypeMeta{APIVersion: mcs.GroupName + "/v1alpha1", Kind: "ServiceImport"},
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{"env": "prod", "tier": tier(name)["tier"]}},
		Spec:       mcs.ServiceImportSpec{Type: mcs.ClusterSetIP, IPs: ips, Ports: append([]mcs.ServicePort{}, ports...)},
	}
	if ips == nil {
		s.Spec.Type = mcs.Headless
	}
	if len(name)%3 == 0 {
		s.Labels["env"] = "test"
	}
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	err = w.client.Discovery().RESTClient().Post().AbsPath(importsPath(ns)).
		SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
	return w.tolerate(err, "serviceimport", ns, name)
}

// importedSlice makes a slice of a multi-cluster service, and with service also
// of that service of the cluster's own.
func (w *world) importedSlice(ctx context.Context, ns, name, of, cluster, service string, ports []discoveryv1.EndpointPort, endpoints ...endpoint) error {
	labels := tier(of)
	labels[mcs.LabelServiceName] = of
	if cluster != "" {
		labels[mcs.LabelSourceCluster] = cluster
	}
	return w.labelledSlice(ctx, ns, name, service, labels, ports, endpoints...)
}

func importPort(name, protocol string, number int32) mcs.ServicePort {
	return mcs.ServicePort{Name: name, Protocol: corev1.Protocol(protocol), Port: number}
}

// imports makes ServiceImports and their slices: every awkward state, then some
// at random.
func (w *world) imports(ctx context.Context) error {
	http := []discoveryv1.EndpointPort{epPort("http", "TCP", 8080)}
	two := []discoveryv1.EndpointPort{epPort("http", "TCP", 8080), epPort("alt", "TCP", 8080), epPort("dns", "UDP", 53)}
	port := importPort("http", "TCP", 80)
	none := []string{}
	steps := []func() error{
		func() error {
			return w.serviceImport(ctx, "default", "kubernetes", []string{"10.99.0.1"}, importPort("https", "TCP", 443))
		},
		func() error {
			return w.importedSlice(ctx, "default", "mc-kubernetes", "kubernetes", "c1", "", http, endpoint{addr: "10.140.0.1"})
		},
		func() error { return w.serviceImport(ctx, "shop", "web", []string{"10.99.0.2", "fd00:99::2"}, port) },
		func() error { return w.serviceImport(ctx, "shop", "empty", []string{"10.99.0.3"}, port) },
		func() error { return w.serviceImport(ctx, "shop", "pending", none, port) },
		func() error { return w.serviceImport(ctx, "shop", "portless", []string{"10.99.0.4"}) },
		func() error {
			return w.serviceImport(ctx, "shop", "bare", []string{"10.99.0.5"}, mcs.ServicePort{Port: 80}, mcs.ServicePort{Name: "x", Port: 81})
		},
		func() error {
			return w.importedSlice(ctx, "shop", "mc-web-1", "web", "c1", "", http, endpoint{addr: "10.140.1.1"}, endpoint{addr: "10.140.1.2", ready: "f"})
		},
		func() error {
			return w.importedSlice(ctx, "shop", "mc-web-2", "web", "C2", "", http, endpoint{addr: "10.140.1.1", hostname: "named"})
		},
		func() error { return w.serviceImport(ctx, "data", "db", nil, port) },
		func() error {
			return w.importedSlice(ctx, "data", "mc-db-1", "db", "c1", "", two, endpoint{addr: "10.140.2.1", hostname: "db-0", pod: "p"},
				endpoint{addr: "10.140.2.2", hostname: "DB-1"}, endpoint{addr: "10.140.2.3", pod: "db-anon"}, endpoint{addr: "10.140.2.4", hostname: "db-4", ready: "f"})
		},
		func() error {
			return w.importedSlice(ctx, "data", "mc-db-2", "db", "c1", "", two, endpoint{addr: "fd00:140::2:1", hostname: "db-0"}, endpoint{addr: "fd00:140::"})
		},
		func() error {
			return w.importedSlice(ctx, "data", "mc-db-3", "db", "east-2", "", http, endpoint{addr: "10.140.2.1", hostname: "db-0"}, endpoint{addr: "10.140.2.9"})
		},
		func() error { return w.serviceImport(ctx, "data", "none", nil, port) },
		func() error { return w.serviceImport(ctx, "data", "noports", nil) },
		func() error {
			return w.importedSlice(ctx, "data", "mc-noports-1", "noports", "c1", "", nil, endpoint{addr: "10.140.3.1"})
		},
		// Of both kinds of service, and of no import.
		func() error { return w.serviceImport(ctx, "data", "overlap", nil, port) },
		func() error {
			return w.importedSlice(ctx, "data", "mc-overlap", "overlap", "c1", "overlap", http, endpoint{addr: "10.129.5.9", zone: "z1"})
		},
		func() error {
			return w.importedSlice(ctx, "data", "mc-orphan", "orphan", "c1", "", http, endpoint{addr: "10.140.4.1"})
		},
		// Endpoints that do not say where they are.
		func() error { return w.serviceImport(ctx, "data", "clusterless", nil, port) },
		func() error {
			return w.importedSlice(ctx, "data", "mc-clusterless", "clusterless", "", "", http, endpoint{addr: "10.140.5.1"}, endpoint{addr: "10.140.5.2", hostname: "h"})
		},
	}
	for i := range 20 {
		steps = append(steps, func() error { return w.randomImport(ctx, fmt.Sprintf("i%d", i)) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) randomImport(ctx context.Context, name string) error {
	r := w.rand
	ns := namespaces[r.IntN(3)]
	var ips []string
	if r.IntN(3) > 0 {
		ips = []string{fmt.Sprintf("10.99.1.%d", 1+r.IntN(200)), fmt.Sprintf("fd00:99::1:%x", 1+r.IntN(200))}[:1+r.IntN(2)]
	}
	protocol := []string{"TCP", "UDP"}[r.IntN(2)]
	if err := w.serviceImport(ctx, ns, name, ips, importPort("p0", protocol, 80), importPort("p1", "TCP", 81)); err != nil {
		return err
	}
	ports := []discoveryv1.EndpointPort{epPort("p0", protocol, 8080), epPort("p1", "TCP", 8080+int32(r.IntN(2)))}
	for s := range r.IntN(3) {
		var list []endpoint
		for range 1 + r.IntN(5) {
			e := endpoint{addr: fmt.Sprintf("10.141.%d.%d", s, 1+r.IntN(10)), ready: []string{"", "t", "f"}[r.IntN(3)]}
			if r.IntN(2) == 0 {
				e.hostname = fmt.Sprintf("h%d", r.IntN(4))
			}
			list = append(list, e)
		}
		if err := w.importedSlice(ctx, ns, fmt.Sprintf("%s-%d", name, s), name, fmt.Sprintf("c%d", r.IntN(3)), "", ports, list...); err != nil {
			return err
		}
	}
	return nil
}

// changeImports makes some of what randomImport made again, and as the last
// changes the imports lately-<round> and changed-<round>.
func (w *world) changeImports(ctx context.Context, round int) error {
	list, err := listImports(ctx, w.client)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.Name[0] != 'i' || w.rand.IntN(2) > 0 {
			continue
		}
		if err := w.client.Discovery().RESTClient().Delete().AbsPath(importsPath(s.Namespace), s.Name).Do(ctx).Error(); err != nil {
			return err
		}
		ips := []string{fmt.Sprintf("10.99.2.%d", 1+w.rand.IntN(200))}
		if w.rand.IntN(2) == 0 {
			ips = nil
		}
		if err := w.serviceImport(ctx, s.Namespace, s.Name, ips, s.Spec.Ports...); err != nil {
			return err
		}
	}
	name := fmt.Sprintf("changed-%d", round)
	err = w.importedSlice(ctx, "shop", "mc-"+name, name, "c1", "", nil, endpoint{addr: fmt.Sprintf("10.140.10.%d", round)})
	if err != nil {
		return err
	}
	// Of a name whose labels leave it in: see serviceImport.
	err = w.serviceImport(ctx, "shop", fmt.Sprintf("lately-%d", round), []string{fmt.Sprintf("10.99.3.%d", round)}, importPort("http", "TCP", 80))
	if err != nil {
		return err
	}
	return w.serviceImport(ctx, "shop", name, nil)
}
