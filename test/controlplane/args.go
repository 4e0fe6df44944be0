package controlplane

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Address ranges of the cluster. Node i's pods are in its slice of PodCIDR4
// and PodCIDR6.
const (
	ServiceCIDR4 = "10.96.0.0/16"
	ServiceCIDR6 = "fd00:10:96::/112"
	PodCIDR4     = "10.128.0.0/9"
	PodCIDR6     = "fd00:10:128::/48"

	// strayPodCIDR has the addresses of pods on nodes without a pod CIDR,
	// which EnsureNodes does not make.
	strayPodCIDR = "10.127.0.0/16"

	// advertised is in TEST-NET-1 (RFC 5737). The API server writes it into
	// the endpoints of the kubernetes service, which may not be loopback
	// addresses; its default needs a default route.
	advertised = "192.0.2.1"
)

func (c *ControlPlane) etcdArgs(peerURL string) []string {
	return []string{
		"--name=kubetest",
		"--data-dir=" + c.path("etcd"),
		"--listen-client-urls=" + c.etcdURL,
		"--advertise-client-urls=" + c.etcdURL,
		"--listen-peer-urls=" + peerURL,
		"--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=kubetest=" + peerURL,
		"--unsafe-no-fsync", // the page cache outlives a killed process
		"--log-level=warn",
	}
}

func (c *ControlPlane) apiServerArgs() []string {
	_, port, _ := net.SplitHostPort(c.host) // made by freeAddr
	return []string{
		"--etcd-servers=" + c.etcdURL,
		"--bind-address=127.0.0.1",
		"--secure-port=" + port,
		"--advertise-address=" + advertised,
		"--cert-dir=" + c.path("certs"), // self-signed there if empty
		"--token-auth-file=" + c.path("tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=" + ServiceCIDR4 + "," + ServiceCIDR6,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.path("sa.key"),
		"--service-account-signing-key-file=" + c.path("sa.key"),
		// It refuses pods until their namespace has its default account.
		"--disable-admission-plugins=ServiceAccount",
	}
}

func (c *ControlPlane) controllerManagerArgs() []string {
	return []string{
		"--kubeconfig=" + c.Kubeconfig(),
		"--leader-elect=false",
		"--secure-port=0",
		// On a busy machine kwok's heartbeats can be late. They say nothing of
		// nodes that do not exist, whose pods would become unready.
		"--node-monitor-grace-period=1h",
	}
}

func (c *ControlPlane) schedulerArgs() []string {
	return []string{
		"--kubeconfig=" + c.Kubeconfig(),
		"--leader-elect=false",
		"--secure-port=0",
	}
}

func (c *ControlPlane) kwokArgs() []string {
	return []string{
		"--kubeconfig=" + c.Kubeconfig(),
		"--config=" + c.path("stages.yaml"),
		"--manage-all-nodes=true",
		"--cidr=" + strayPodCIDR,
		"--server-address=", // no kubelet port
	}
}

func (c *ControlPlane) etcdReady(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.etcdURL+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", req.URL, resp.Status)
	}
	return nil
}

// apiServerReady asks for the namespaces too: the API server makes them after
// it has said that it is ready.
func (c *ControlPlane) apiServerReady(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	if err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
		return err
	}
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem} {
		if _, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// freeAddr returns a loopback address with a port that nobody listens on. The
// range is below the ephemeral ports of Linux (from 32768) and node ports
// (from 30000), so that no outgoing connection takes the port while a part
// is down.
func freeAddr() (string, error) {
	var err error
	for range 100 {
		var l net.Listener
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+nextPort()))
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("looking for a free port: %w", err)
}
