package migration

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm"
	"k8s.io/kubernetes/cmd/kubeadm/app/constants"
	"k8s.io/kubernetes/cmd/kubeadm/app/phases/addons/dns"
	"k8s.io/kubernetes/cmd/kubeadm/app/phases/upgrade"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/config"
)

// clusterConfiguration is what kubeadm keeps in the ConfigMap kubeadm-config,
// with its settings of DNS.
func clusterConfiguration(t *testing.T, settings kubeadm.DNS) *kubeadm.ClusterConfiguration {
	t.Helper()
	c, err := config.DefaultedStaticInitConfiguration()
	if err != nil {
		t.Fatal(err)
	}
	c.ClusterConfiguration.DNS = settings
	return &c.ClusterConfiguration
}

// addon is the phase addon/coredns, of kubeadm init and upgrade.
func addon(t *testing.T, settings kubeadm.DNS, patches string) error {
	t.Helper()
	return dns.EnsureDNSAddon(clusterConfiguration(t, settings), client, patches, io.Discard, false)
}

// installed makes a cluster that has CoreDNS by kubeadm, with another image and
// another Corefile; "" are kubeadm's.
func installed(t *testing.T, image, corefile string) {
	t.Helper()
	empty(t)
	if err := addon(t, kubeadm.DNS{}, ""); err != nil {
		t.Fatal(err)
	}
	if image != "" {
		deployments := client.AppsV1().Deployments(metav1.NamespaceSystem)
		d, err := deployments.Get(t.Context(), "coredns", metav1.GetOptions{})
		if err == nil {
			d.ResourceVersion = "" // the controllers write its status
			d.Spec.Template.Spec.Containers[0].Image = image
			_, err = deployments.Update(t.Context(), d, metav1.UpdateOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if corefile != "" {
		maps := client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
		m, err := maps.Get(t.Context(), "coredns", metav1.GetOptions{})
		if err == nil {
			m.Data["Corefile"] = corefile
			_, err = maps.Update(t.Context(), m, metav1.UpdateOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

const (
	ours     = "registry.example/clusterdns:1.0.0"
	asStock  = "registry.example/clusterdns:" + constants.CoreDNSVersion
	older    = "registry.example/clusterdns:v1.13.1"
	coredns  = "registry.k8s.io/coredns/coredns:" + constants.CoreDNSVersion
	own      = ".:53 {\n    clusterdns cluster.local {\n        fastlane off\n    }\n}\n"
	ownIn    = ".:53 {\n    kubernetes cluster.local {\n        fastlane off\n    }\n}\n"
	portable = ".:53 {\n    kubernetes cluster.local {\n        ttl 30\n    }\n    forward . 192.0.2.1\n}\n"
)

// TestKubeadmUpgrade does what `kubeadm upgrade apply` does about DNS: the
// checks, and then the phase addon/coredns.
func TestKubeadmUpgrade(t *testing.T) {
	both := []string{"corednsunsupportedplugins", "corednsmigration"} // lower case, as kubeadm has them after reading its flag
	patches := t.TempDir()
	patch := "spec:\n  template:\n    spec:\n      containers:\n      - name: coredns\n        image: " + asStock + "\n"
	if !strings.Contains(flat(t), strings.Join(strings.Fields(patch), " ")) {
		t.Errorf("the page does not have the patch\n%s", patch)
	}
	if err := os.WriteFile(filepath.Join(patches, "corednsdeployment.yaml"), []byte(patch), 0o600); err != nil {
		t.Fatal(err)
	}
	mirror := kubeadm.DNS{ImageMeta: kubeadm.ImageMeta{ImageRepository: "registry.example/dns", ImageTag: constants.CoreDNSVersion}}

	for name, test := range map[string]struct {
		image, corefile string
		ignore          []string
		dns             kubeadm.DNS
		patches         string
		skip            bool   // --skip-phases addon/coredns
		refused, failed string // what the checks, and the phase, say
		want            string // the image then; "" if it stays
	}{
		"our tag":                      {image: ours, refused: "start version '1.0.0' not supported"},
		"CoreDNS 1.15's tag":           {image: "registry.example/clusterdns:v1.15.0", refused: "start version '1.15.0' not supported"},
		"our tag, skipped":             {image: ours, skip: true, refused: "start version '1.0.0' not supported"},
		"our tag, disabled":            {image: ours, dns: kubeadm.DNS{Disabled: true}, refused: "start version '1.0.0' not supported"},
		"our tag, errors ignored":      {image: ours, ignore: both, failed: "start version '1.0.0' not supported"},
		"older tag and our word":       {image: older, corefile: own, refused: `Plugin "clusterdns" is unsupported`},
		"older tag and our option":     {image: older, corefile: ownIn, refused: `Option "fastlane" in plugin "kubernetes" is unsupported`},
		"way 1":                        {image: ours, corefile: own, ignore: both, skip: true},
		"way 1, disabled":              {image: ours, corefile: own, ignore: both, dns: kubeadm.DNS{Disabled: true}},
		"way 2":                        {image: "registry.example/dns/coredns:" + constants.CoreDNSVersion, corefile: portable, dns: mirror},
		"way 2, from the tag before":   {image: "registry.example/dns/coredns:v1.13.1", corefile: portable, dns: mirror, want: "registry.example/dns/coredns:" + constants.CoreDNSVersion},
		"way 3":                        {image: older, corefile: portable, patches: patches, want: asStock},
		"without image and patch":      {image: asStock, corefile: portable, want: coredns},
		"an unchanged default is fine": {image: asStock, dns: mirror, want: "registry.example/dns/coredns:" + constants.CoreDNSVersion},
	} {
		t.Run(name, func(t *testing.T) {
			installed(t, test.image, test.corefile)
			scale(t, "coredns", 5)
			if said := checks(t, test.ignore...); test.refused != "" || said != "" {
				is(t, "the checks", said, test.refused)
				return
			}
			if !test.skip && !test.dns.Disabled {
				if err := addon(t, test.dns, test.patches); test.failed != "" || err != nil {
					is(t, "the phase", fmt.Sprint(err), test.failed)
					return
				}
			}
			want := test.want
			if want == "" {
				want = test.image
			}
			if image, replicas := deployment(t, "coredns"); image != want || replicas != 5 {
				t.Errorf("%d replicas of %s, want 5 of %s", replicas, image, want)
			}
			m, err := client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(t.Context(), "coredns", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if test.corefile != "" && m.Data["Corefile"] != test.corefile {
				t.Errorf("the Corefile is now\n%s", m.Data["Corefile"])
			}
		})
	}

	t.Run("no ConfigMap", func(t *testing.T) {
		installed(t, ours, "")
		if err := client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Delete(t.Context(), "coredns", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		is(t, "the checks", checks(t), "start version '' not supported")
	})
	t.Run("two Deployments", func(t *testing.T) {
		installed(t, "", "")
		d, err := client.AppsV1().Deployments(metav1.NamespaceSystem).Get(t.Context(), "coredns", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d.ObjectMeta = metav1.ObjectMeta{Name: "clusterdns", Labels: d.Labels}
		if _, err := client.AppsV1().Deployments(metav1.NamespaceSystem).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		is(t, "the checks", checks(t), "multiple DNS addon deployments found")
	})
}

// checks runs kubeadm's checks of DNS and returns what they complain of, "" if
// they pass. What is wrong goes to the standard error only.
func checks(t *testing.T, ignore ...string) string {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stderr := os.Stderr
	os.Stderr = file
	failed := upgrade.RunCoreDNSMigrationCheck(client, sets.New(ignore...))
	os.Stderr = stderr
	if failed == nil {
		return ""
	}
	said, err := os.ReadFile(file.Name())
	if err != nil || len(said) == 0 {
		t.Fatalf("%v: %q, %v", failed, said, err)
	}
	return string(said)
}

func is(t *testing.T, who, said, want string) {
	t.Helper()
	if want == "" || !strings.Contains(said, want) {
		t.Errorf("%s said %.500s, want %q", who, said, want)
	}
}

func scale(t *testing.T, name string, replicas int32) {
	t.Helper()
	deployments := client.AppsV1().Deployments(metav1.NamespaceSystem)
	s, err := deployments.GetScale(t.Context(), name, metav1.GetOptions{})
	if err == nil {
		s.Spec.Replicas = replicas
		s.ResourceVersion = ""
		_, err = deployments.UpdateScale(t.Context(), name, s, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}
