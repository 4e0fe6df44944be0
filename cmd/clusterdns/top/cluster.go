package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// cluster is a Kubernetes API server, with the rights of whoever runs the
// command.
type cluster struct {
	config *rest.Config
	client rest.Interface

	mu       sync.Mutex
	forwards map[forwardKey]*forward
}

// codecs knows pods and nothing else: client-go's own scheme would link every
// API group there is.
var codecs = serializer.NewCodecFactory(func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, new(corev1.Pod), new(corev1.PodList))
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	return scheme
}())

// newCluster returns the cluster of a kubeconfig file and a context in it. Each
// may be empty, and then is found as kubectl finds it.
func newCluster(kubeconfig, context string) (*cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	group := corev1.SchemeGroupVersion
	config.GroupVersion, config.APIPath = &group, "/api"
	config.NegotiatedSerializer = codecs.WithoutConversion()
	config.WarningHandler = rest.NoWarnings{}
	config.QPS, config.Burst = 50, 100 // port-forwards and clients' pods, at once at the start
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("API server %q: %w", config.Host, err)
	}
	return &cluster{config: config, client: client, forwards: map[forwardKey]*forward{}}, nil
}

// pods returns those in a namespace, or in all if that is empty.
func (c *cluster) pods(ctx context.Context, namespace string, options metav1.ListOptions) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := c.client.Get().NamespaceIfScoped(namespace, namespace != "").Resource("pods").
		VersionedParams(&options, metav1.ParameterCodec).Do(ctx).Into(&list)
	return list.Items, err
}

// servers returns those pods in a namespace with such labels that run.
func (c *cluster) servers(ctx context.Context, namespace, selector string, port int) ([]server, error) {
	pods, err := c.pods(ctx, namespace, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("listing pods in namespace %s: %w", namespace, err)
	}
	var list []server
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
			list = append(list, &podServer{cluster: c, namespace: namespace, pod: pod.Name, port: port})
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no pod with the labels %s runs in namespace %s: --namespace and --selector say which, --server takes addresses",
			selector, namespace)
	}
	return list, nil
}

// podServer is a server in a pod, reached through the API server as by kubectl
// port-forward.
type podServer struct {
	cluster        *cluster
	namespace, pod string
	port           int // of the console
}

func (p *podServer) name() string { return p.pod }

func (p *podServer) base(ctx context.Context, port int) (string, error) {
	if port == consolePort {
		port = p.port
	}
	local, err := p.cluster.forward(ctx, forwardKey{p.namespace, p.pod, port})
	if err != nil {
		return "", err
	}
	return "http://127.0.0.1:" + strconv.Itoa(local), nil
}

func (p *podServer) mine(err error) error {
	if errors.Is(err, errForward) {
		return fmt.Errorf("pod %s/%s: %w", p.namespace, p.pod, err)
	}
	return fmt.Errorf("pod %s/%s has no console at port %d: the line `console` in a server block of the Corefile turns it on, and --port says where (%w)",
		p.namespace, p.pod, p.port, err)
}

var errForward = errors.New("port-forward")

// forwardKey is a port of a pod.
type forwardKey struct {
	namespace, pod string
	port           int
}

// forward is a local port that leads to one of a pod.
type forward struct {
	local int
	ended chan struct{}
	stop  context.CancelFunc
}

// forward returns the local port that leads to a pod's.
func (c *cluster) forward(ctx context.Context, key forwardKey) (int, error) {
	c.mu.Lock()
	f := c.forwards[key]
	c.mu.Unlock()
	if f != nil {
		select {
		case <-f.ended:
		default:
			return f.local, nil
		}
	}
	f, err := c.newForward(ctx, key)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errForward, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forwards[key] = f
	return f.local, nil
}

// newForward opens one. As kubectl does, it tries a websocket first, and SPDY
// for API servers, or proxies in front of them, that do not take that.
func (c *cluster) newForward(ctx context.Context, key forwardKey) (*forward, error) {
	url := c.client.Post().Resource("pods").Namespace(key.namespace).Name(key.pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, err
	}
	websocket, err := portforward.NewSPDYOverWebsocketDialer(url, c.config)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialer(websocket, spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url),
		func(err error) bool { return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err) })

	f := &forward{ended: make(chan struct{})}
	stop, ready := make(chan struct{}), make(chan struct{})
	f.stop = sync.OnceFunc(func() { close(stop) })
	ports := []string{"0:" + strconv.Itoa(key.port)}
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, ports, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	var failed error
	go func() {
		failed = forwarder.ForwardPorts()
		close(f.ended)
	}()
	select {
	case <-ready:
		open, err := forwarder.GetPorts()
		if err != nil {
			f.stop()
			return nil, err
		}
		f.local = int(open[0].Local)
		return f, nil
	case <-f.ended:
		return nil, failed
	case <-ctx.Done():
		f.stop()
		return nil, ctx.Err()
	}
}

// close ends all forwards.
func (c *cluster) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.forwards {
		f.stop()
	}
}

// podNames finds the pods of clients' addresses. The server knows none, since
// it watches no pods for this.
type podNames struct {
	cluster *cluster // nil: no pod is known

	mu    sync.Mutex
	known map[string]podName // by address
	err   error              // of the last look-up
}

type podName struct {
	name  string // "" is nobody
	until time.Time
}

// How many addresses are looked up at a time, the ones that ask most, and how
// long the answer holds.
const (
	lookups = 20
	podAge  = time.Minute
)

// of returns the pod of an address, "" if it is not known.
func (p *podNames) of(addr string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[addr].name
}

// learn looks up the clients that ask most and are not known.
func (p *podNames) learn(ctx context.Context, answers []polled) {
	if p.cluster == nil {
		return
	}
	clients := merge(time.Now(), answers, func(string) string { return "" }).Clients
	now := time.Now()
	var ask []string
	p.mu.Lock()
	for _, c := range clients {
		if now.After(p.known[c.Key].until) && len(ask) < lookups {
			ask = append(ask, c.Key)
		}
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for _, addr := range ask {
		pods, err := p.cluster.pods(ctx, "", metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("status.podIP", addr).String()})
		p.mu.Lock()
		p.err = err
		if err == nil {
			if len(p.known) > 10*maxRows {
				clear(p.known)
			}
			p.known[addr] = podName{podOf(pods), now.Add(podAge)}
		}
		p.mu.Unlock()
		if err != nil {
			return // no rights, or no API server: not for the next either
		}
	}
}

// podOf names the pod that has an address. Pods in the node's network share its
// address: then it is the node.
func podOf(pods []corev1.Pod) string {
	pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
	switch {
	case len(pods) == 0:
		return ""
	case pods[0].Spec.HostNetwork:
		return "node " + pods[0].Spec.NodeName
	}
	return pods[0].Namespace + "/" + pods[0].Name
}
