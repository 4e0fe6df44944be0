package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestStatefulSet scales a StatefulSet; the names of its pods follow.
func TestStatefulSet(t *testing.T) {
	s := newSpace(t, client)
	s.create(selecting("db", families(dual, headless(service("db")))))
	_, err := client.AppsV1().StatefulSets(s.name).Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			ServiceName: "db",
			Replicas:    new(int32(0)),
			Selector:    &metav1.LabelSelector{MatchLabels: app("db")},
			Template:    podsOf("db"),
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	of := func(ordinal int) string { return s.fqdn(fmt.Sprintf("db-%d.db", ordinal)) }
	shared.becomes(t, a(s.fqdn("db")), nxdomain)
	for ordinal := range 5 {
		shared.is(t, a(of(ordinal)), nxdomain) // and is cached
	}
	was := 0
	for _, n := range []int{5, 2} {
		start := time.Now()
		s.merge("statefulsets", "db", fmt.Sprintf(`{"spec":{"replicas":%d}}`, n))
		pods := s.pods("db", n)
		ready := time.Since(start)
		s.inSlices("db", addrsOf(pods...))
		sliced := time.Since(start)
		for _, q := range []question{a(s.fqdn("db")), aaaa(s.fqdn("db"))} {
			shared.becomes(t, q, addrText(q, addrsOf(pods...)...))
		}
		for _, pod := range pods {
			name := s.fqdn(pod.Name + ".db")
			for _, q := range []question{a(name), aaaa(name)} {
				shared.is(t, q, addrText(q, addrsOf(pod)...))
			}
			for _, addr := range addrsOf(pod) {
				shared.is(t, ptr(addr), "PTR "+name)
			}
		}
		for gone := n; gone < 5; gone++ {
			shared.is(t, a(of(gone)), nxdomain)
		}
		t.Logf("%d → %d: pods settled after %v, EndpointSlices after %v, names after %v", was, n, ready, sliced, time.Since(start))
		was = n
	}
}

// TestRollingUpdate replaces every pod behind a headless service twice. The
// name has to resolve all the while, and to nothing but pods.
func TestRollingUpdate(t *testing.T) {
	const replicas = 4
	s := newSpace(t, client)
	s.create(selecting("web", headless(service("web"))))
	pods := s.allPods()
	s.deploy("web", replicas)
	q := a(s.fqdn("web"))
	shared.becomes(t, q, addrText(q, addrsOf(s.pods("web", replicas)...)...))

	// Two clients ask as fast as they can.
	answers := [2]map[string]int{{}, {}}
	quit := make(chan struct{})
	var clients sync.WaitGroup
	for i, network := range []string{"udp", "tcp"} {
		clients.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
					answers[i][shared.ask(network, q)]++
				}
			}
		})
	}
	start := time.Now()
	for i := range 2 {
		s.merge("deployments", "web", fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"update":"%d"}}}}}`, i))
		wait(t, "the rolling update", func() error { return s.rolledOut("web", replicas) })
	}
	shared.becomes(t, q, addrText(q, addrsOf(s.pods("web", replicas)...)...))
	took := time.Since(start)
	close(quit)
	clients.Wait()

	addrs := pods()
	queries, wrong, different := 0, map[string]int{}, map[string]bool{}
	for _, seen := range answers {
		for answer, n := range seen {
			queries += n
			different[answer] = true
			for line := range strings.SplitSeq(answer, "\n") {
				if addr, ok := strings.CutPrefix(line, "A "); !ok || !addrs[addr] {
					wrong[line] += n
				}
			}
		}
	}
	if len(wrong) > 0 {
		t.Errorf("answers with, which no pod is, and how many: %v", wrong)
	}
	t.Logf("%d queries in %v of two rolling updates, %d different answers, %d wrong", queries, took, len(different), len(wrong))
}

// allPods returns a function that returns every address that a pod of the
// namespace has had until then.
func (s *space) allPods() func() map[string]bool {
	s.t.Helper()
	watch, err := s.client.CoreV1().Pods(s.name).Watch(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	addrs, done := map[string]bool{}, make(chan struct{})
	go func() {
		defer close(done)
		for event := range watch.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok {
				for _, addr := range addrsOf(*pod) {
					addrs[addr] = true
				}
			}
		}
	}()
	return func() map[string]bool {
		watch.Stop()
		<-done
		return addrs
	}
}

func (s *space) rolledOut(name string, replicas int32) error {
	d, err := s.client.AppsV1().Deployments(s.name).Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if st := d.Status; st.ObservedGeneration < d.Generation || st.UpdatedReplicas != replicas || st.Replicas != replicas || st.AvailableReplicas != replicas {
		return fmt.Errorf("%d pods, %d updated, %d available", st.Replicas, st.UpdatedReplicas, st.AvailableReplicas)
	}
	return nil
}

// TestRecreatedService deletes a service and makes it again with another
// address. Once that is answered, the old one is not.
func TestRecreatedService(t *testing.T) {
	const rounds = 20
	s := newSpace(t, client)
	q := a(s.fqdn("web"))
	svc := s.create(service("web"))
	shared.becomes(t, q, addrText(q, svc.Spec.ClusterIP))

	var seen []string // answers in their order, without repetition
	queries := 0
	quit, asked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(asked)
		for {
			select {
			case <-quit:
				return
			default:
			}
			queries++
			if answer := shared.ask("udp", q); len(seen) == 0 || seen[len(seen)-1] != answer {
				seen = append(seen, answer)
			}
		}
	}()
	want := []string{addrText(q, svc.Spec.ClusterIP)}
	for range rounds {
		old := svc.Spec.ClusterIP
		s.delete("web")
		svc = s.create(service("web"))
		want = append(want, addrText(q, svc.Spec.ClusterIP))
		shared.becomes(t, q, want[len(want)-1])
		if svc.Spec.ClusterIP != old { // it may be given out again
			shared.is(t, ptr(old), nxdomain)
		}
		shared.is(t, ptr(svc.Spec.ClusterIP), "PTR "+q.name)
	}
	close(quit)
	<-asked

	// Between two addresses there may be a moment without any, and the client
	// may miss one; but none comes back.
	rest, addrs := want, 0
	for _, answer := range seen {
		if answer == nxdomain {
			continue
		}
		addrs++
		at := slices.Index(rest, answer)
		if at < 0 {
			t.Errorf("answers were %q, want %q", seen, want)
			break
		}
		rest = rest[at:]
	}
	t.Logf("%d queries, %d of %d addresses seen, each in its turn only", queries, addrs, len(want))
}

// TestNamespaces has a namespace come, while it is known not to exist, and go.
func TestNamespaces(t *testing.T) {
	s := &space{t, client, "namespaces-test"}
	inside := question{"svc.cluster.local.", dns.TypeA}
	inside.name = s.name + "." + inside.name
	web := a(s.fqdn("web"))
	for _, q := range []question{inside, web} {
		shared.is(t, q, nxdomain)
	}
	_, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	svc := service("web")
	svc.Finalizers = []string{"example.com/hold"}
	svc = s.create(svc)
	s.create(service("gone-first"))
	want := addrText(web, svc.Spec.ClusterIP)
	t.Logf("namespace and service answered after %v", shared.becomes(t, web, want))
	shared.is(t, inside, nodata)

	// While it is terminating, what is still there is answered.
	if err := client.CoreV1().Namespaces().Delete(t.Context(), s.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	shared.becomes(t, a(s.fqdn("gone-first")), nxdomain)
	shared.is(t, web, want)
	shared.is(t, inside, nodata)

	patch := []byte(`{"metadata":{"finalizers":null}}`)
	if _, err := client.CoreV1().Services(s.name).Patch(t.Context(), "web", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	shared.becomes(t, web, nxdomain)
	shared.becomes(t, inside, nxdomain)
	shared.is(t, ptr(svc.Spec.ClusterIP), nxdomain)
	t.Logf("namespace gone %v after its last service was let go", time.Since(start))
}

// TestPods asks for names of pods' addresses.
func TestPods(t *testing.T) {
	s := newSpace(t, client)
	s.deploy("web", 2)
	pods := s.pods("web", 2)
	name := func(addr, namespace, zone string) string {
		return dashed(addr) + "." + namespace + ".pod." + zone
	}
	for _, addr := range addrsOf(pods...) {
		for _, q := range []question{a(name(addr, s.name, "cluster.local.")), aaaa(name(addr, s.name, "cluster.local."))} {
			shared.becomes(t, q, addrText(q, addr))
		}
		shared.is(t, a(name(addr, "default", "cluster.local.")), nxdomain)
	}
	// No pod has these.
	for _, addr := range []string{"192.0.2.7", "2001:db8::7"} {
		shared.is(t, a(name(addr, s.name, "cluster.local.")), nxdomain)
		for _, q := range []question{a(name(addr, s.name, insecure)), aaaa(name(addr, s.name, insecure))} {
			shared.is(t, q, addrText(q, addr))
		}
		shared.is(t, a(name(addr, "no-such-namespace", insecure)), nxdomain)
	}
	s.merge("deployments", "web", `{"spec":{"replicas":0}}`)
	start := time.Now()
	for _, addr := range addrsOf(pods...) {
		shared.becomes(t, a(name(addr, s.name, "cluster.local.")), nxdomain)
	}
	t.Logf("pods gone after %v", time.Since(start))
}
