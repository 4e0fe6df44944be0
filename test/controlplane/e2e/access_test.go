package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// TestForbidden has a service account that may not see EndpointSlices. What
// does not depend on them is answered, the rest is SERVFAIL, and log and
// metrics say why. Once it may, the server recovers by itself.
func TestForbidden(t *testing.T) {
	s := newSpace(t, client)
	web := s.create(service("web"))
	s.create(headless(service("headless")))
	s.createSlice("headless", 80, endpoint("198.51.100.30", ""))
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: s.name},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{""}, Resources: []string{"namespaces", "services"}, Verbs: []string{"list", "watch"},
		}},
	}
	if _, err := client.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: s.name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.name, Name: "dns"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(t, config{stanza: []string{"kubeconfig " + s.kubeconfig("dns"), "startup_timeout 1s"}})

	q, endpoints := a(s.fqdn("web")), a(s.fqdn("headless"))
	server.becomes(t, q, addrText(q, web.Spec.ClusterIP))
	server.is(t, ptr(web.Spec.ClusterIP), "PTR "+q.name)
	server.is(t, a(s.fqdn("no-such")), nxdomain)
	server.is(t, endpoints, servfail)
	server.is(t, a(s.fqdn("198-51-100-30.headless")), servfail)
	server.is(t, ptr("198.51.100.30"), servfail)

	wait(t, "the reason in the log", func() error {
		for line := range strings.Lines(server.logged()) {
			if strings.Contains(line, "endpointslices") && strings.Contains(line, "forbidden") && strings.Contains(line, "SERVFAIL") {
				t.Log(strings.TrimSpace(line))
				return nil
			}
		}
		return fmt.Errorf("none:\n%s", server.logTail())
	})
	for resource, synced := range map[string]float64{"namespaces": 1, "services": 1, "endpointslices": 0} {
		if got := server.metric(t, "coredns_clusterdns_synced", fmt.Sprintf("resource=%q", resource)); got != synced {
			t.Errorf("metrics say synced %v of %s", got, resource)
		}
	}
	if server.metric(t, "coredns_clusterdns_unready_responses_total", `resource="endpointslices"`) == 0 {
		t.Error("metrics count no SERVFAIL for want of endpointslices")
	}
	if server.metric(t, "coredns_kubernetes_rest_client_requests_total", `code="403"`) == 0 {
		t.Error("metrics count no request that was forbidden")
	}
	if err := server.checkReady(t.Context()); err == nil {
		t.Error("/ready says that it is")
	}

	role.Rules = append(role.Rules, rbacv1.PolicyRule{
		APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: []string{"list", "watch"},
	})
	if _, err := client.RbacV1().ClusterRoles().Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	granted := time.Now()
	if err := server.waitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready %v after permission was granted", time.Since(granted))
	server.is(t, endpoints, addrText(endpoints, "198.51.100.30"))
}

// kubeconfig returns the path of a kubeconfig of a service account.
func (s *space) kubeconfig(account string) string {
	s.t.Helper()
	dir, err := cluster.ServiceAccount(s.t.Context(), s.name, account)
	if err != nil {
		s.t.Fatal(err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: cluster.Config().Host, CertificateAuthority: filepath.Join(dir, "ca.crt")}
	config.AuthInfos["test"] = &clientcmdapi.AuthInfo{TokenFile: filepath.Join(dir, "token")}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	config.CurrentContext = "test"
	path := filepath.Join(s.t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		s.t.Fatal(err)
	}
	return path
}
