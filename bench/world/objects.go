package world

import (
	"encoding/json"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// SliceSize is how many endpoints the slices of Objects hold at most, as those
// of Kubernetes' controller do.
const SliceSize = 100

// Namespace returns a namespace.
func Namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{TypeMeta: typeMeta("v1", "Namespace"), ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// Object returns the service as the API has it.
func (s *Service) Object() *corev1.Service {
	o := &corev1.Service{
		TypeMeta: typeMeta("v1", "Service"),
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, Labels: map[string]string{
			"app.kubernetes.io/name": s.Name, "app.kubernetes.io/managed-by": "Helm",
		}},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app.kubernetes.io/name": s.Name}},
	}
	switch s.Kind {
	case ExternalName:
		o.Spec.Type, o.Spec.ExternalName, o.Spec.Selector = corev1.ServiceTypeExternalName, s.External[:len(s.External)-1], nil
		return o
	case Headless:
		o.Spec.ClusterIP = corev1.ClusterIPNone
	case ClusterIP:
		o.Spec.ClusterIP = s.ClusterIP.String()
	}
	o.Spec.ClusterIPs = []string{o.Spec.ClusterIP}
	o.Spec.Ports = []corev1.ServicePort{{Name: portName, Port: port, Protocol: corev1.ProtocolTCP}}
	return o
}

// Slices returns the EndpointSlices of the service. Lean ones have addresses,
// hostnames and the port only.
func (s *Service) Slices(lean bool) []*discoveryv1.EndpointSlice {
	var slices []*discoveryv1.EndpointSlice
	for at := 0; at < len(s.Endpoints); at += SliceSize {
		slices = append(slices, s.slice(at, s.Endpoints[at:min(at+SliceSize, len(s.Endpoints))], lean))
	}
	return slices
}

func (s *Service) slice(at int, endpoints []Endpoint, lean bool) *discoveryv1.EndpointSlice {
	name, number, protocol := portName, int32(targetPort), corev1.ProtocolTCP
	o := &discoveryv1.EndpointSlice{
		TypeMeta: typeMeta("discovery.k8s.io/v1", "EndpointSlice"),
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: fmt.Sprintf("%s-%d", s.Name, at/SliceSize),
			Labels: map[string]string{
				discoveryv1.LabelServiceName: s.Name,
				discoveryv1.LabelManagedBy:   "endpointslice-controller.k8s.io",
				"app.kubernetes.io/name":     s.Name,
			},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &number, Protocol: &protocol}},
	}
	for i, e := range endpoints {
		end := discoveryv1.Endpoint{Addresses: []string{e.Addr.String()}}
		if e.Hostname != "" {
			end.Hostname = &e.Hostname
		}
		if !lean {
			yes, no := true, false
			node := fmt.Sprintf("node-%d", (at+i)%500)
			end.Conditions = discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no}
			end.NodeName = &node
			end.TargetRef = &corev1.ObjectReference{
				Kind: "Pod", Namespace: s.Namespace, Name: fmt.Sprintf("%s-7d4b9c6f5-%05d", s.Name, at+i),
				UID: types.UID(fmt.Sprintf("6f9619ff-8b86-d011-b42d-%012x", e.Addr.As4())),
			}
		}
		o.Endpoints = append(o.Endpoints, end)
	}
	return o
}

func typeMeta(version, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: version, Kind: kind}
}

// WriteManifest writes all objects into a file, a JSON document each, for
// clusterdns' option manifests. Endpoints are lean whatever the world says.
func (w *World) WriteManifest(file string) error {
	err := writeFile(file, func(out io.Writer) error {
		encoder := json.NewEncoder(out)
		var failed error
		write := func(o runtime.Object) {
			if failed == nil {
				failed = encoder.Encode(o)
			}
		}
		for _, name := range w.Namespaces {
			write(Namespace(name))
		}
		for _, s := range w.All() {
			write(s.Object())
			for _, slice := range s.Slices(true) {
				write(slice)
			}
		}
		return failed
	})
	if err != nil {
		return fmt.Errorf("writing manifest of world %s: %w", w.Name, err)
	}
	return nil
}
