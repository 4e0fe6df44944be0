package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// rotated is the service account of the test's servers, in the test's namespace.
const rotated = "rotated"

// withToken has servers follow the API server as a service account.
func withToken(tr *trial) []string {
	path := filepath.Join(tr.files, "kubeconfig")
	dir, err := tr.ServiceAccount(tr.Context(), tr.space.name, rotated)
	tr.must(err)
	_, err = tr.client.RbacV1().ClusterRoleBindings().Create(tr.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: rotated},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: tr.space.name, Name: rotated}},
	}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		tr.must(err)
	}
	writeKubeconfig(tr.T, path, tr.between.server.URL, tr.between.server.Certificate(), &clientcmdapi.AuthInfo{TokenFile: filepath.Join(dir, "token")})
	return []string{"kubeconfig " + path}
}

// rotateToken makes the account anew, and its token: the old one is of an account
// that is no more.
func (tr *trial) rotateToken() {
	err := tr.client.CoreV1().ServiceAccounts(tr.space.name).Delete(tr.Context(), rotated, metav1.DeleteOptions{})
	tr.must(err)
	_, err = tr.ServiceAccount(tr.Context(), tr.space.name, rotated)
	tr.must(err)
	tr.hold(11 * time.Second) // for as long the API server remembers whose a token was
	tr.between.cut()
}

// lifetime of the certificate that servers start with.
const lifetime = 20 * time.Second

// withCert has servers follow the API server with a certificate that is about to
// expire.
func withCert(tr *trial) []string {
	leaf := filepath.Join(tr.files, "leaf")
	if _, err := os.Stat(leaf + ".crt"); err != nil {
		tr.issue(leaf, lifetime)
	}
	return []string{"endpoint " + tr.Config().Host, "tls " + leaf + ".crt " + leaf + ".key " + tr.CAFile()}
}

// rotateCert replaces it, waits until the old one has expired, and has the
// connections made anew.
func (tr *trial) rotateCert() {
	leaf := filepath.Join(tr.files, "leaf")
	old, err := os.Stat(leaf + ".crt")
	tr.must(err)
	tr.issue(leaf, time.Hour)
	tr.hold(time.Until(old.ModTime().Add(lifetime + time.Second)))
	tr.kill(tr.T)
	tr.outage.start(tr.T)
}

// issue writes an administrator's certificate, signed by the test's authority, and
// its key.
func (tr *trial) issue(path string, life time.Duration) {
	tr.Helper()
	authority, err := tls.LoadX509KeyPair(tr.cert.cert, tr.cert.key)
	tr.must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tr.must(err)
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "dns", Organization: []string{"system:masters"}},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(life),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, authority.Leaf, key.Public(), authority.PrivateKey)
	tr.must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	tr.must(err)
	for suffix, block := range map[string]*pem.Block{
		".crt": {Type: "CERTIFICATE", Bytes: leaf},
		".key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		tr.must(os.WriteFile(path+suffix+"~", pem.EncodeToMemory(block), 0o600))
		tr.must(os.Rename(path+suffix+"~", path+suffix))
	}
}
