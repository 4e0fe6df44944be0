package kube

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

func objectMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "shop", Name: name, ResourceVersion: "7"}
}

func addrs(texts ...string) (list []netip.Addr) {
	for _, t := range texts {
		list = append(list, netip.MustParseAddr(t))
	}
	return list
}

func TestConvertNamespace(t *testing.T) {
	raw := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", ResourceVersion: "12"}}
	raw.Status.Phase = corev1.NamespaceTerminating // exists until it is gone
	got := new(converter).value(raw)
	if want := (&zone.Namespace{Name: "shop", Version: 12}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestConvertService(t *testing.T) {
	appProtocol := "http"
	for name, test := range map[string]struct {
		spec corev1.ServiceSpec
		want zone.Service
	}{
		"cluster IP": {
			corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"},
				Ports: []corev1.ServicePort{{Name: "http", Protocol: "TCP", Port: 80, AppProtocol: &appProtocol}, {Protocol: "UDP", Port: 53}}},
			zone.Service{Kind: zone.ClusterIP, ClusterIPs: addrs("10.0.0.1"),
				Ports: []zone.Port{{Name: "http", Protocol: "TCP", Number: 80}, {Protocol: "UDP", Number: 53}}},
		},
		"order of families kept": {
			corev1.ServiceSpec{ClusterIP: "fd00::1", ClusterIPs: []string{"fd00::1", "10.0.0.1"}},
			zone.Service{ClusterIPs: addrs("fd00::1", "10.0.0.1")},
		},
		"only clusterIP": {
			corev1.ServiceSpec{ClusterIP: "10.0.0.1"},
			zone.Service{ClusterIPs: addrs("10.0.0.1")},
		},
		"odd spellings": {
			corev1.ServiceSpec{ClusterIPs: []string{"::ffff:10.0.0.1", "FD00:0:0::1", "10.0.0.256", "fe80::1%eth0", ""}},
			zone.Service{ClusterIPs: addrs("10.0.0.1", "fd00::1")},
		},
		"no address yet": {corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}, zone.Service{}},
		"node port": {
			corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, ClusterIPs: []string{"10.0.0.1"}},
			zone.Service{ClusterIPs: addrs("10.0.0.1")},
		},
		"headless": {
			corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}, PublishNotReadyAddresses: true},
			zone.Service{Kind: zone.Headless, PublishNotReady: true},
		},
		"headless by clusterIP alone": {
			corev1.ServiceSpec{ClusterIP: "None"},
			zone.Service{Kind: zone.Headless},
		},
		"external name": {
			corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "Example.COM.", Ports: []corev1.ServicePort{{Port: 80}}},
			zone.Service{Kind: zone.ExternalName, ExternalName: "Example.COM.", Ports: []zone.Port{{Number: 80}}},
		},
		"external name with addresses left over": {
			corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com", ClusterIP: "None", ClusterIPs: []string{"None"}},
			zone.Service{Kind: zone.ExternalName, ExternalName: "example.com"},
		},
		"name of another type's": {
			corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ExternalName: "example.com", ClusterIP: "10.0.0.1"},
			zone.Service{ClusterIPs: addrs("10.0.0.1")},
		},
	} {
		test.want.Key, test.want.Version = zone.Key{Namespace: "shop", Name: "web"}, 7
		got := new(converter).value(&corev1.Service{ObjectMeta: objectMeta("web"), Spec: test.spec})
		if !reflect.DeepEqual(got, &test.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func TestConvertExternal(t *testing.T) {
	for name, test := range map[string]struct {
		ips   []string
		lb    []corev1.LoadBalancerIngress
		addrs []netip.Addr
		hosts []string
	}{
		"neither":     {},
		"externalIPs": {ips: []string{"192.0.2.1", "2001:DB8:0::1", "192.0.2.256"}, addrs: addrs("192.0.2.1", "2001:db8::1")},
		"load balancer": {
			ips: []string{"192.0.2.1"},
			lb: []corev1.LoadBalancerIngress{{IP: "192.0.2.2"}, {Hostname: "lb.example.com"}, {}, {IP: "::ffff:192.0.2.3", Hostname: "ignored.example.com"},
				{Hostname: "192.0.2.4"}, {IP: "no address"}},
			addrs: addrs("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"), hosts: []string{"lb.example.com"},
		},
		"load balancer that is at neither": {lb: []corev1.LoadBalancerIngress{{}}},
	} {
		raw := &corev1.Service{ObjectMeta: objectMeta("web"), Spec: corev1.ServiceSpec{ExternalIPs: test.ips}}
		raw.Status.LoadBalancer.Ingress = test.lb
		got := new(converter).value(raw).(*zone.Service).External
		if want := zone.NewExternal(test.addrs, test.hosts); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

func TestConvertServiceImport(t *testing.T) {
	for name, test := range map[string]struct {
		spec mcsv1alpha1.ServiceImportSpec
		want zone.Service
	}{
		"addresses": {
			mcsv1alpha1.ServiceImportSpec{Type: mcsv1alpha1.ClusterSetIP, IPs: []string{"FD00::1", "10.0.0.1", "none"},
				Ports: []mcsv1alpha1.ServicePort{{Name: "http", Protocol: "TCP", Port: 80, AppProtocol: ptr("http")}, {Port: 81}}},
			zone.Service{ClusterIPs: addrs("fd00::1", "10.0.0.1"), Ports: []zone.Port{{Name: "http", Protocol: "TCP", Number: 80}, {Number: 81}}},
		},
		"headless, with an address left over": {
			mcsv1alpha1.ServiceImportSpec{Type: mcsv1alpha1.Headless, IPs: []string{"10.0.0.1"}},
			zone.Service{Kind: zone.Headless},
		},
		"no address yet": {mcsv1alpha1.ServiceImportSpec{Type: mcsv1alpha1.ClusterSetIP}, zone.Service{}},
	} {
		test.want.Key, test.want.Version = zone.Key{Namespace: "shop", Name: "web"}, 7
		got := new(converter).value(&mcsv1alpha1.ServiceImport{ObjectMeta: objectMeta("web"), Spec: test.spec})
		if !reflect.DeepEqual(got, &zone.ServiceImport{Service: test.want}) {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// showEndpoints writes endpoints as "address[=name][/zone]".
func showEndpoints(set *zone.Endpoints) string {
	if set == nil {
		return "nil"
	}
	var list []string
	for e := range set.All {
		text := e.Addr.String()
		if e.Name != "" {
			text += "=" + e.Name
		}
		if e.Zone != "" {
			text += "/" + e.Zone
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}

func TestConvertEndpoints(t *testing.T) {
	pod := func(name string) *corev1.ObjectReference { return &corev1.ObjectReference{Kind: "Pod", Name: name} }
	ready := func(r bool) discoveryv1.EndpointConditions { return discoveryv1.EndpointConditions{Ready: &r} }
	pod63, pod64 := strings.Repeat("p", 63), strings.Repeat("p", 64)
	for name, test := range map[string]struct {
		podNames, zones bool
		endpoints       []discoveryv1.Endpoint
		ready, notReady string
	}{
		"none": {ready: "", notReady: "nil"},
		"plain": {
			endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.2"}, Conditions: ready(true)}, {Addresses: []string{"10.1.0.1"}}},
			ready:     "10.1.0.1 10.1.0.2", notReady: "nil",
		},
		"several addresses": {
			endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.2", "10.1.0.1"}, Hostname: ptr("a")}},
			ready:     "10.1.0.1=a 10.1.0.2=a", notReady: "nil",
		},
		"not ready, terminating": {
			endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"10.1.0.1"}, Conditions: ready(false)},
				{Addresses: []string{"10.1.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(false), Serving: ptr(true), Terminating: ptr(true)}},
				{Addresses: []string{"10.1.0.3"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(true), Serving: ptr(true), Terminating: ptr(true)}},
			},
			ready: "10.1.0.3", notReady: "10.1.0.1 10.1.0.2",
		},
		"all but an unreadable one not ready": {
			endpoints: []discoveryv1.Endpoint{{Addresses: []string{"one"}}, {Addresses: []string{"10.1.0.1"}, Conditions: ready(false)}},
			ready:     "", notReady: "10.1.0.1",
		},
		"hostname before pod name": {
			podNames:  true,
			endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.1"}, Hostname: ptr("Web-0"), TargetRef: pod("web-0")}},
			ready:     "10.1.0.1=Web-0", notReady: "nil",
		},
		"empty hostname": {
			endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.1"}, Hostname: ptr("")}},
			ready:     "10.1.0.1", notReady: "nil",
		},
		"pod names wanted": {
			podNames: true,
			endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"10.1.0.1"}, TargetRef: pod("web-xyz")},
				{Addresses: []string{"10.1.0.2"}, TargetRef: pod(pod63)},
				{Addresses: []string{"10.1.0.3"}, TargetRef: pod(pod64)},
				{Addresses: []string{"10.1.0.4"}},
				{Addresses: []string{"10.1.0.5"}, TargetRef: pod("")},
			},
			ready: "10.1.0.1=web-xyz 10.1.0.2=" + pod63 + " 10.1.0.3 10.1.0.4 10.1.0.5", notReady: "nil",
		},
		"zones wanted": {
			zones: true,
			endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"10.1.0.1", "10.1.0.2"}, Zone: ptr("Us-West-2A"), Hostname: ptr("h")},
				{Addresses: []string{"10.1.0.3"}, Zone: ptr("")},
				{Addresses: []string{"10.1.0.4"}},
				{Addresses: []string{"10.1.0.5"}, Zone: ptr("corp.example.com"), Conditions: ready(false)},
			},
			ready: "10.1.0.1=h/us-west-2a 10.1.0.2=h/us-west-2a 10.1.0.3 10.1.0.4", notReady: "10.1.0.5/corp.example.com",
		},
		"zones not wanted": {
			endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.1"}, Zone: ptr("a")}},
			ready:     "10.1.0.1", notReady: "nil",
		},
		"pod names not wanted": {
			endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.1"}, TargetRef: pod("web-xyz")}},
			ready:     "10.1.0.1", notReady: "nil",
		},
		"IPv6 spellings": {
			endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"fd00::1"}},                 // canonical
				{Addresses: []string{"FD00::2"}},                 // labels ignore case
				{Addresses: []string{"fd00:0:0:0:0:0:0:3"}},      // not what its address looks like
				{Addresses: []string{"fd00::"}},                  // canonical
				{Addresses: []string{"fd01:0:0:0:0:0:0::"}},      // ends in a hyphen, too
				{Addresses: []string{"::ffff:10.1.0.9"}},         // mapped
				{Addresses: []string{"::FFFF:a01:8"}},            // mapped, without a dot
				{Addresses: []string{"fe80::1%eth0", "example"}}, // not addresses
			},
			ready: "10.1.0.8=--FFFF-a01-8 10.1.0.9=::ffff:10-1-0-9 fd00:: fd00::1 fd00::2 " +
				"fd00::3=fd00-0-0-0-0-0-0-3 fd01::=fd01-0-0-0-0-0-0--0",
			notReady: "nil",
		},
	} {
		raw := &discoveryv1.EndpointSlice{ObjectMeta: objectMeta("web-1"), Endpoints: test.endpoints, AddressType: discoveryv1.AddressTypeIPv4}
		raw.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
		got := (&converter{podNames: test.podNames, zones: test.zones}).value(raw).(*zone.EndpointSlice)
		if s := showEndpoints(&got.Ready); s != test.ready {
			t.Errorf("%s: ready %q, want %q", name, s, test.ready)
		}
		if s := showEndpoints(got.NotReady); s != test.notReady {
			t.Errorf("%s: not ready %q, want %q", name, s, test.notReady)
		}
	}
}

func TestConvertEndpointSlice(t *testing.T) {
	conv := new(converter)
	raw := &discoveryv1.EndpointSlice{ObjectMeta: objectMeta("web-1"), AddressType: discoveryv1.AddressTypeIPv6,
		Ports: []discoveryv1.EndpointPort{{}, {Name: ptr("dns"), Protocol: ptr(corev1.ProtocolUDP), Port: ptr(int32(53))}}}
	raw.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
	got := conv.value(raw)
	want := &zone.EndpointSlice{Key: zone.Key{Namespace: "shop", Name: "web-1"}, Version: 7, Service: "web",
		Ports: []zone.Port{{Number: -1}, {Name: "dns", Protocol: "UDP", Number: 53}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}

	imported := raw.DeepCopy()
	imported.Labels[mcsv1alpha1.LabelServiceName], imported.Labels[mcsv1alpha1.LabelSourceCluster] = "shared", "east"
	want.Imported = &zone.Imported{Service: "shared", Cluster: "east"}
	if got := conv.value(imported); !reflect.DeepEqual(got, want) {
		t.Errorf("imported too: got %+v, want %+v", got, want)
	}
	delete(imported.Labels, discoveryv1.LabelServiceName)
	delete(imported.Labels, mcsv1alpha1.LabelSourceCluster)
	want.Service, want.Imported.Cluster = "", ""
	if got := conv.value(imported); !reflect.DeepEqual(got, want) {
		t.Errorf("imported: got %+v, want %+v", got, want)
	}

	for name, change := range map[string]func(*discoveryv1.EndpointSlice){
		"FQDN":        func(s *discoveryv1.EndpointSlice) { s.AddressType = discoveryv1.AddressTypeFQDN },
		"no labels":   func(s *discoveryv1.EndpointSlice) { s.Labels = nil },
		"empty label": func(s *discoveryv1.EndpointSlice) { s.Labels[discoveryv1.LabelServiceName] = "" },
	} {
		other := raw.DeepCopy()
		change(other)
		if got := conv.value(other); got != nil {
			t.Errorf("%s: got %+v, want nil", name, got)
		}
	}
	raw.Ports = nil
	if got := conv.value(raw).(*zone.EndpointSlice); got.Ports != nil {
		t.Errorf("ports %v, want none", got.Ports)
	}
}

func TestConvertPod(t *testing.T) {
	for name, test := range map[string]struct {
		status  corev1.PodStatus
		deleted bool
		want    []netip.Addr
		skipped bool
	}{
		"running": {status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.1.0.1",
			PodIPs: []corev1.PodIP{{IP: "10.1.0.1"}, {IP: "FD00::1"}}}, want: addrs("10.1.0.1", "fd00::1")},
		"only podIP": {status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "::ffff:10.1.0.1"}, want: addrs("10.1.0.1")},
		"pending":    {status: corev1.PodStatus{Phase: corev1.PodPending}},
		"terminating": {status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.1.0.1"},
			deleted: true, want: addrs("10.1.0.1")},
		"succeeded": {status: corev1.PodStatus{Phase: corev1.PodSucceeded, PodIP: "10.1.0.1"}, skipped: true},
		"failed":    {status: corev1.PodStatus{Phase: corev1.PodFailed, PodIP: "10.1.0.1"}, skipped: true},
		"unknown":   {status: corev1.PodStatus{Phase: corev1.PodUnknown, PodIP: "10.1.0.1"}, skipped: true},
	} {
		raw := &corev1.Pod{ObjectMeta: objectMeta("web-0"), Status: test.status}
		raw.Labels = map[string]string{"app": "web"}
		if test.deleted {
			raw.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		}
		got := new(converter).value(raw)
		if test.skipped {
			if got != nil {
				t.Errorf("%s: got %+v, want nil", name, got)
			}
			continue
		}
		want := &zone.Pod{Key: zone.Key{Namespace: "shop", Name: "web-0"}, Version: 7, Addrs: test.want, Labels: map[string]string{"app": "web"}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	for text, want := range map[string]uint64{"": 0, "0": 0, "42": 42, "18446744073709551615": 1<<64 - 1, "18446744073709551616": 0, "-1": 0, "v7": 0} {
		if got := version(text); got != want {
			t.Errorf("version(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestTriggerTime(t *testing.T) {
	at := time.Date(2024, 2, 3, 4, 5, 6, 789, time.UTC)
	for text, want := range map[string]time.Time{at.Format(time.RFC3339Nano): at, "yesterday": {}} {
		raw := &discoveryv1.EndpointSlice{}
		raw.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: text}
		if got := triggerTime(raw); !got.Equal(want) {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
	if got := triggerTime(&discoveryv1.EndpointSlice{}); !got.IsZero() {
		t.Errorf("without annotation: got %v", got)
	}
}

func TestInterner(t *testing.T) {
	var in interner
	a, b := in.of(strings.Clone("http")), in.of(strings.Clone("http"))
	if unsafe.StringData(a) != unsafe.StringData(b) {
		t.Error("two copies of one string")
	}
	for i := range 3 * maxInterned {
		in.of(fmt.Sprint(i))
	}
	if len(in.held) > maxInterned {
		t.Errorf("%d strings held", len(in.held))
	}
	if in.of("") != "" || slices.Contains([]string{a, b}, "") {
		t.Error("strings changed")
	}
}
