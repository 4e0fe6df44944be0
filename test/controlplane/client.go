package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Config returns a new configuration for an administrator's client: protobuf
// and no rate limit. It stays valid across restarts of the API server.
func (c *ControlPlane) Config() *rest.Config {
	return &rest.Config{
		Host:            c.url,
		BearerToken:     c.token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile()},
		ContentConfig: rest.ContentConfig{
			ContentType:        runtime.ContentTypeProtobuf,
			AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON,
		},
		QPS: -1,
	}
}

// Kubeconfig returns the path of an administrator's kubeconfig file.
func (c *ControlPlane) Kubeconfig() string { return c.path("kubeconfig") }

// CAFile returns the path of the certificate that clients of the API server
// trust.
func (c *ControlPlane) CAFile() string { return filepath.Join(c.path("certs"), "apiserver.crt") }

// HostPort returns the API server's address, as a pod finds it in
// KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT.
func (c *ControlPlane) HostPort() (host, port string) {
	host, port, _ = net.SplitHostPort(c.host) // made by freeAddr
	return host, port
}

// DataDir returns the absolute path of the data folder.
func (c *ControlPlane) DataDir() string { return c.dir }

// ServiceAccount makes a service account, if there is none, and returns a
// folder with the files that its pods would see in
// /var/run/secrets/kubernetes.io/serviceaccount: token, ca.crt and namespace.
// The token is good for a day and may do what RBAC bindings allow. The
// namespace has to exist.
func (c *ControlPlane) ServiceAccount(ctx context.Context, namespace, name string) (string, error) {
	dir := filepath.Join(c.path("serviceaccounts"), namespace, name)
	if err := c.serviceAccount(ctx, namespace, name, dir); err != nil {
		return "", fmt.Errorf("making service account %s/%s: %w", namespace, name, err)
	}
	return dir, nil
}

func (c *ControlPlane) serviceAccount(ctx context.Context, namespace, name, dir string) error {
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	accounts := client.CoreV1().ServiceAccounts(namespace)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err = accounts.Create(ctx, account, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	seconds := int64((24 * time.Hour).Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if request, err = accounts.CreateToken(ctx, name, request, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("requesting token: %w", err)
	}
	ca, err := os.ReadFile(c.CAFile())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "token"), []byte(request.Status.Token), 0o600),
		os.WriteFile(filepath.Join(dir, "ca.crt"), ca, 0o600),
		os.WriteFile(filepath.Join(dir, "namespace"), []byte(namespace), 0o600),
	)
}

// maxNodes is how many slices PodCIDR4 has.
const maxNodes = 2048

// EnsureNodes makes nodes node-0 to node-(n-1) where they do not exist, each
// with an IPv4 and an IPv6 address and pod CIDR. Pods are scheduled to them
// once kwok has made them ready, which EnsureNodes does not wait for.
func (c *ControlPlane) EnsureNodes(ctx context.Context, n int) error {
	if n > maxNodes {
		return fmt.Errorf("making nodes: %d are more than %d", n, maxNodes)
	}
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return fmt.Errorf("making nodes: %w", err)
	}
	for i := range n {
		_, err := client.CoreV1().Nodes().Create(ctx, node(i), metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("making node: %w", err)
		}
	}
	return nil
}

// node returns node i. Its CIDRs are set here, not by the controller manager,
// because kwok takes addresses from them and a pod may be there first. Its
// slice of PodCIDR4 is a /20: kwok runs over the end of a smaller one.
func node(i int) *corev1.Node {
	name := fmt.Sprintf("node-%d", i)
	cidr4 := fmt.Sprintf("10.%d.%d.0/20", 128+i/16, i%16*16)
	cidr6 := fmt.Sprintf("fd00:10:128:%x::/64", i+1) // :0:: is not canonical
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:   name,
			Labels: map[string]string{corev1.LabelHostname: name},
		},
		Spec: corev1.NodeSpec{PodCIDR: cidr4, PodCIDRs: []string{cidr4, cidr6}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: name},
			{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("172.16.%d.%d", i/250, i%250+1)},
			// kwok patches addresses by type, so a type may come once only;
			// it takes the second family from here as well.
			{Type: corev1.NodeExternalIP, Address: fmt.Sprintf("fd00:172:16::%x", i+1)},
		}},
	}
}
