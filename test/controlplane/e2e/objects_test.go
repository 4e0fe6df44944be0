package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// space is a namespace of a test's own. It stays when the test ends, so that
// what happens next is what the next test does.
type space struct {
	t      *testing.T
	client kubernetes.Interface
	name   string
}

func newSpace(t *testing.T, client kubernetes.Interface) *space {
	t.Helper()
	name := strings.NewReplacer("/", "-", "_", "-").Replace(strings.ToLower(t.Name()))
	s := &space{t, client, fmt.Sprintf("%s-%05d", name, rand.IntN(1e5))}
	_, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fqdn is the name of a service, or of what is below it.
func (s *space) fqdn(service string) string { return service + "." + s.name + ".svc.cluster.local." }

// create makes a service and returns it as the API server has it.
func (s *space) create(svc *corev1.Service) *corev1.Service {
	s.t.Helper()
	svc, err := s.client.CoreV1().Services(s.name).Create(s.t.Context(), svc, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return svc
}

func (s *space) delete(service string) {
	s.t.Helper()
	if err := s.client.CoreV1().Services(s.name).Delete(s.t.Context(), service, metav1.DeleteOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// createSlice makes an EndpointSlice of a service, with one endpoint, ready and
// with a hostname, for each address.
func (s *space) createSlice(service string, port int32, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	s.t.Helper()
	tcp := corev1.ProtocolTCP
	slice, err := s.client.DiscoveryV1().EndpointSlices(s.name).Create(s.t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: service + "-",
			Labels:       map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Protocol: &tcp, Port: &port}},
		Endpoints:   endpoints,
	}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return slice
}

func endpoint(addr, hostname string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{addr}}
	if hostname != "" {
		e.Hostname = &hostname
	}
	return e
}

// deploy makes a Deployment of pods with the label app=name.
func (s *space) deploy(name string, replicas int32) {
	s.t.Helper()
	_, err := s.client.AppsV1().Deployments(s.name).Create(s.t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: app(name)},
			Template: podsOf(name),
		},
	}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
}

func app(name string) map[string]string { return map[string]string{"app": name} }

func podsOf(name string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: app(name)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: name, Image: name}}},
	}
}

// pods waits until n pods with the label app=name are ready, and there are no
// others, and returns them.
func (s *space) pods(name string, n int) []corev1.Pod {
	s.t.Helper()
	var pods []corev1.Pod
	wait(s.t, fmt.Sprintf("%d pods of %s", n, name), func() error {
		list, err := s.client.CoreV1().Pods(s.name).List(s.t.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
		if err != nil {
			return err
		}
		for _, pod := range list.Items {
			if !isReady(&pod) || len(pod.Status.PodIPs) != 2 {
				return fmt.Errorf("%s is %s with addresses %v", pod.Name, pod.Status.Phase, pod.Status.PodIPs)
			}
		}
		if pods = list.Items; len(pods) != n {
			return fmt.Errorf("%d pods", len(pods))
		}
		return nil
	})
	return pods
}

// inSlices waits until the EndpointSlices of a service have just addrs.
func (s *space) inSlices(service string, addrs []string) {
	s.t.Helper()
	slices.Sort(addrs)
	wait(s.t, "EndpointSlices of "+service, func() error {
		list, err := s.client.DiscoveryV1().EndpointSlices(s.name).List(s.t.Context(), metav1.ListOptions{
			LabelSelector: discoveryv1.LabelServiceName + "=" + service,
		})
		if err != nil {
			return err
		}
		var have []string
		for _, slice := range list.Items {
			for _, e := range slice.Endpoints {
				if ready := e.Conditions.Ready; ready != nil && !*ready {
					return fmt.Errorf("%v is not ready", e.Addresses) // and should not be answered
				}
				have = append(have, e.Addresses...)
			}
		}
		if slices.Sort(have); !slices.Equal(have, addrs) {
			return fmt.Errorf("they have %v", have)
		}
		return nil
	})
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// addrsOf returns the addresses of pods, of both families.
func addrsOf(pods ...corev1.Pod) (addrs []string) {
	for _, pod := range pods {
		for _, ip := range pod.Status.PodIPs {
			addrs = append(addrs, ip.IP)
		}
	}
	return addrs
}

// merge applies a JSON merge patch to a Deployment ("deployments") or a
// StatefulSet.
func (s *space) merge(resource, name, patch string) {
	s.t.Helper()
	err := s.client.AppsV1().RESTClient().Patch(types.MergePatchType).Namespace(s.name).Resource(resource).
		Name(name).Body([]byte(patch)).Do(s.t.Context()).Error()
	if err != nil {
		s.t.Fatal(err)
	}
}

// Services, to be changed as a test needs it.

func service(name string, ports ...corev1.ServicePort) *corev1.Service {
	if ports == nil {
		ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	}
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Ports: ports}}
}

// selecting returns svc selecting the pods of an app.
func selecting(name string, svc *corev1.Service) *corev1.Service {
	svc.Spec.Selector = app(name)
	return svc
}

func headless(svc *corev1.Service) *corev1.Service {
	svc.Spec.ClusterIP = corev1.ClusterIPNone
	return svc
}

func ofType(t corev1.ServiceType, svc *corev1.Service) *corev1.Service {
	svc.Spec.Type = t
	return svc
}

func external(name, target string) *corev1.Service {
	svc := ofType(corev1.ServiceTypeExternalName, service(name))
	svc.Spec.ExternalName, svc.Spec.Ports = target, nil
	return svc
}

// families returns svc with an IP family policy; without families, the API
// server chooses them.
func families(policy corev1.IPFamilyPolicy, svc *corev1.Service, families ...corev1.IPFamily) *corev1.Service {
	svc.Spec.IPFamilyPolicy, svc.Spec.IPFamilies = &policy, families
	return svc
}
