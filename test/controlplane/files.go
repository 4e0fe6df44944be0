package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	nodeheartbeat "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
)

// writeFiles writes what the parts read. The token and the service-account
// key of an earlier run are kept, so that its clients stay welcome.
func (c *ControlPlane) writeFiles() error {
	token, err := keep(c.path("admin.token"), newToken)
	if err != nil {
		return fmt.Errorf("making admin token: %w", err)
	}
	c.token = string(token)
	tokens := fmt.Sprintf("%s,admin,admin,system:masters\n", c.token)
	if err := os.WriteFile(c.path("tokens.csv"), []byte(tokens), 0o600); err != nil {
		return err
	}
	if _, err := keep(c.path("sa.key"), newKey); err != nil {
		return fmt.Errorf("making service-account key: %w", err)
	}
	if err := os.WriteFile(c.path("stages.yaml"), []byte(stages()), 0o600); err != nil {
		return err
	}
	if err := c.writeKubeconfig(); err != nil {
		return fmt.Errorf("writing kubeconfig: %w", err)
	}
	return nil
}

// stages is kwok's configuration: nodes are made ready and heartbeat, pods
// are made ready, complete if they are of a job, and go when deleted.
func stages() string {
	return strings.Join([]string{
		nodefast.DefaultNodeInit,
		nodeheartbeat.DefaultNodeHeartbeatWithLease,
		podfast.DefaultPodReady,
		podfast.DefaultPodComplete,
		podfast.DefaultPodDelete,
	}, "\n---\n")
}

func (c *ControlPlane) writeKubeconfig() error {
	const name = "kubetest"
	conf := clientcmdapi.NewConfig()
	conf.Clusters[name] = &clientcmdapi.Cluster{Server: c.url, CertificateAuthority: c.CAFile()}
	conf.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: c.token}
	conf.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	conf.CurrentContext = name
	return clientcmd.WriteToFile(*conf, c.Kubeconfig())
}

// keep returns the contents of a file, which it makes if there is none.
func keep(path string, generate func() ([]byte, error)) ([]byte, error) {
	data, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	if data, err = generate(); err != nil {
		return nil, err
	}
	return data, os.WriteFile(path, data, 0o600)
}

func newToken() ([]byte, error) { return []byte(rand.Text()), nil }

// newKey returns a key in SEC 1 form: of PKCS #8 the API server cannot take the
// public half.
func newKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}
