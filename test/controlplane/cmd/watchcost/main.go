// Command watchcost measures what followers of Services and EndpointSlices cost
// an API server: octets and CPU time of a list, and of an event for each
// follower. docs/scale.md is what it found.
//
//	go run ./cmd/watchcost [-services 1000] [-endpoints 10] [-followers 100] [-events 1000]
//
// CPU time is the API server's own, from /proc; what writing the events costs
// without a follower is taken off.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/clusterdns/clusterdns/test/controlplane"
)

var (
	services  = flag.Int("services", 1000, "services, each with an EndpointSlice")
	endpoints = flag.Int("endpoints", 10, "endpoints of each")
	followers = flag.Int("followers", 100, "followers, each with connections of its own")
	events    = flag.Int("events", 1000, "changes of EndpointSlices")
)

func main() {
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "watchcost:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	c, err := controlplane.Start(ctx, controlplane.Options{APIOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	for i := range *services {
		name := fmt.Sprintf("service-%d", i)
		_, err := client.CoreV1().Services("default").Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if _, err = client.DiscoveryV1().EndpointSlices("default").Create(ctx, slice(i, 0), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	fmt.Printf("%d services, %d endpoints each, %d followers\n", *services, *endpoints, *followers)

	cpu := func() time.Duration { return cpuTime(c.APIServer.PID()) }
	for _, path := range []string{"/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"} {
		f, err := newFollower(c.Config())
		if err != nil {
			return err
		}
		const lists = 30
		before := cpu()
		for range lists {
			if err := f.get(ctx, path+"?resourceVersion=0"); err != nil {
				return err
			}
		}
		fmt.Printf("list of %s: %d octets, %v of CPU\n", path, f.octets.Load()/lists, (cpu()-before)/lists)
	}

	without, err := change(ctx, client, cpu)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	var all []*follower
	before := cpu()
	for range *followers {
		f, err := newFollower(c.Config())
		if err != nil {
			return err
		}
		all = append(all, f)
		for _, path := range []string{"/api/v1/namespaces", "/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"} {
			group.Go(func() {
				f.get(ctx, path+"?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")
			})
		}
	}
	if err := c.Wait(ctx, "the followers' lists", func(context.Context) error {
		low := all[0].octets.Load()
		time.Sleep(time.Second) // long beside the gap between two of its events
		for _, f := range all {
			low = min(low, f.octets.Load())
		}
		if now := total(all); now != seen || low == 0 {
			seen = now
			return errors.New("octets still arrive")
		}
		return nil
	}); err != nil {
		return err
	}
	n := time.Duration(*followers)
	fmt.Printf("start of a follower (WatchList of all three): %d octets, %v of CPU\n", total(all)/int64(n), (cpu()-before)/n)

	idle, octets := cpu(), total(all)
	time.Sleep(30 * time.Second)
	fmt.Printf("a follower for a quiet minute: %d octets, %v of CPU, what the API server does by itself not taken off\n",
		2*(total(all)-octets)/int64(n), 2*(cpu()-idle)/n)

	octets = total(all)
	with, err := change(ctx, client, cpu)
	if err != nil {
		return err
	}
	deliveries := time.Duration(*events) * n
	fmt.Printf("a change: %v of CPU without followers\n", without/time.Duration(*events))
	fmt.Printf("an event for a follower: %d octets, %v of CPU\n", (total(all)-octets)/int64(deliveries), (with-without)/deliveries)
	return nil
}

var seen int64 // octets that had arrived when run last looked

// slice returns the EndpointSlice of a service, in a version that differs.
func slice(i, version int) *discoveryv1.EndpointSlice {
	name := fmt.Sprintf("service-%d", i)
	port, http, ready, node := int32(8080), "http", true, "node-1"
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: name + "-x7k2p", Labels: map[string]string{
			discoveryv1.LabelServiceName: name, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io", "app": name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &http, Port: &port}},
	}
	for k := range *endpoints {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.%d.%d.%d", 128+version%64, i%250, k)},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready},
			NodeName:   &node,
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: fmt.Sprintf("%s-6c9d7f5b8-%05d", name, k), UID: "2f1e5a0c-9d53-4c5e-8a58-6e6b1d1f0a11"},
		})
	}
	return s
}

var version = 0

// change changes EndpointSlices, and returns the CPU time from the first to when
// nothing is left to do.
func change(ctx context.Context, client *kubernetes.Clientset, cpu func() time.Duration) (time.Duration, error) {
	version++
	before := cpu()
	for i := range *events {
		s := slice(i%*services, version + i / *services)
		if _, err := client.DiscoveryV1().EndpointSlices("default").Update(ctx, s, metav1.UpdateOptions{}); err != nil {
			return 0, err
		}
	}
	time.Sleep(3 * time.Second) // the followers' last events
	version += *events / *services
	return cpu() - before, nil
}

// follower reads without looking.
type follower struct {
	base   string
	token  string
	client http.Client
	octets atomic.Int64 // on the wire, TLS and HTTP included
}

func newFollower(config *rest.Config) (*follower, error) {
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	f := &follower{base: config.Host, token: config.BearerToken}
	f.client.Transport = &http.Transport{
		TLSClientConfig: tls, ForceAttemptHTTP2: true, DisableCompression: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &counted{conn, &f.octets}, err
		},
	}
	return f, nil
}

type counted struct {
	net.Conn
	octets *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.octets.Add(int64(n))
	return n, err
}

// get reads what the API server sends, as long as it does.
func (f *follower) get(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.base+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+f.token)
	req.Header.Set("Accept", "application/vnd.kubernetes.protobuf")
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func total(all []*follower) (octets int64) {
	for _, f := range all {
		octets += f.octets.Load()
	}
	return octets
}

// cpuTime returns the user and system time of a process.
func cpuTime(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		panic(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	ticks := 0
	for _, at := range []int{11, 12} { // utime and stime
		n, err := strconv.Atoi(fields[at])
		if err != nil {
			panic(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 on all of Linux
}
