package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// world is the cluster that the servers follow.
type world struct {
	client     *kubernetes.Clientset
	kubeconfig string
	namespaces int
	markers    int
	last       string         // the marker made last
	dead       net.PacketConn // receives and never answers
}

// deadUpstream returns the address of somebody who never answers.
func (w *world) deadUpstream() string {
	if w.dead == nil {
		var err error
		if w.dead, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			panic(err) // no port on loopback: nothing here can work
		}
	}
	return w.dead.LocalAddr().String()
}

// namespace makes a namespace whose name ends in a number, see sizeOf.
func (w *world) namespace(ctx context.Context, n int) (string, error) {
	w.namespaces++
	name := fmt.Sprintf("hostile-%d-%d", w.namespaces, n)
	_, err := w.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	return name, err
}

func sizeOf(ns string) int {
	n, _ := strconv.Atoi(ns[strings.LastIndexByte(ns, '-')+1:])
	return n
}

// mark makes a service by which settled knows that all before it has arrived.
func (w *world) mark(ctx context.Context) error {
	w.markers++
	w.last = fmt.Sprint("marker-", w.markers)
	return w.service(ctx, "default", w.last, func(*corev1.ServiceSpec) {})
}

// row is what one server did with one shape.
type row struct {
	shape   shape
	server  string
	ours    bool
	cost    [2]time.Duration // at n and 10 n
	octets  int
	longest time.Duration
	missing int
}

// resolution is less than which a cost is not told from nothing: a question's
// way through the kernel and a server costs as much.
const resolution = 30 * time.Microsecond

func (r row) ratio() float64 {
	return float64(max(r.cost[1], resolution)) / float64(max(r.cost[0], resolution))
}

func (r row) String() string {
	return fmt.Sprintf("| %s | %d | %s | %v | %v | %.1f | %d | %v |", r.shape.name, r.shape.n, r.server,
		r.cost[0].Round(time.Microsecond), r.cost[1].Round(time.Microsecond), r.ratio(), r.octets, r.longest.Round(100*time.Microsecond))
}

// Bounds: cost grows with the answer or the object and not with its square, and
// nobody else loses an answer for it.
const mostRatio = 15

func (r row) broken() (list []string) {
	if !r.ours {
		return nil
	}
	if r.ratio() > mostRatio {
		list = append(list, fmt.Sprintf("%s, %s: 10 n costs %.1f times n, more than %d", r.shape.name, r.server, r.ratio(), mostRatio))
	}
	if r.missing > 0 {
		list = append(list, fmt.Sprintf("%s, %s: %d answers to an unrelated client missing", r.shape.name, r.server, r.missing))
	}
	return list
}

// measure has every peer answer, or follow, the shape at n and at 10 n.
func (w *world) measure(ctx context.Context, s shape) (rows []row, err error) {
	progress("%s: making the objects", s.name)
	var spaces [2]string
	for i, n := range []int{s.n, 10 * s.n} {
		if spaces[i], err = w.namespace(ctx, n); err != nil {
			return nil, err
		}
		if err := s.make(ctx, w, spaces[i], n); err != nil {
			return nil, err
		}
	}
	for _, p := range peers() {
		if s.change != nil && p.options != "" {
			continue // a change does not meet the lane
		}
		progress("%s: %s", s.name, p.name)
		if err := w.mark(ctx); err != nil {
			return nil, err
		}
		srv, err := w.start(ctx, p)
		if err != nil {
			return nil, err
		}
		r := row{shape: s, server: p.name, ours: p.ours}
		err = w.settled(ctx, srv)
		for i := 0; i < 2 && err == nil; i++ {
			if s.change != nil {
				r.cost[i], err = w.costOfChange(ctx, srv, s, spaces[i])
				continue
			}
			stop := srv.unrelated(5 * time.Second)
			r.cost[i], r.octets, err = costOfQuestion(srv, s, spaces[i])
			_, r.missing, r.longest = stop()
		}
		srv.kill()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		rows = append(rows, r)
	}
	for _, ns := range spaces { // with no controllers the objects have to be told one by one
		if err := w.client.CoreV1().RESTClient().Delete().Namespace(ns).Resource("services").Do(ctx).Error(); err != nil {
			return nil, err
		}
		if err := w.client.DiscoveryV1().EndpointSlices(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// enough CPU time or questions for one figure: the kernel counts CPU time in
// steps of 10 ms.
const (
	enoughCPU       = 500 * time.Millisecond
	enoughQuestions = 3000
	enoughTime      = 10 * time.Second
)

// costOfQuestion returns the CPU time of one question, less that of a plain
// one that stands beside it, and the length of the whole answer over TCP.
func costOfQuestion(srv *server, s shape, ns string) (time.Duration, int, error) {
	name, qtype := s.question(ns)
	before, err := srv.cpu()
	if err != nil {
		return 0, 0, err
	}
	n, spent, start := 0, time.Duration(0), time.Now()
	for ; n < enoughQuestions && spent < enoughCPU && time.Since(start) < enoughTime; n++ {
		if _, err := exchange("udp", srv.addr, name, qtype, 20*time.Second); err != nil {
			return 0, 0, err
		}
		now, err := srv.cpu()
		if err != nil {
			return 0, 0, err
		}
		spent = now - before
	}
	r, err := exchange("tcp", srv.addr, name, qtype, 20*time.Second)
	if err != nil {
		return 0, 0, fmt.Errorf("over TCP: %w", err)
	}
	r.Compress = true
	return spent / time.Duration(n), r.Len(), nil
}

// costOfChange returns the CPU time that following one change takes.
func (w *world) costOfChange(ctx context.Context, srv *server, s shape, ns string) (time.Duration, error) {
	before, err := srv.cpu()
	if err != nil {
		return 0, err
	}
	n, start := 0, time.Now()
	for ; n < 300 && time.Since(start) < enoughTime; n++ {
		if err := s.change(ctx, w, ns, sizeOf(ns), n); err != nil {
			return 0, err
		}
	}
	if err := w.mark(ctx); err != nil {
		return 0, err
	}
	if err := w.settled(ctx, srv); err != nil {
		return 0, err
	}
	after, err := srv.cpu()
	return (after - before) / time.Duration(n), err
}
