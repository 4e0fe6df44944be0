package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"helm.sh/helm/v3/pkg/chartutil"
)

// TestChartObjects says what each values file of testdata makes, by kind and
// name.
func TestChartObjects(t *testing.T) {
	for name, want := range map[string]string{
		"": "ClusterRole clusterdns, ClusterRoleBinding clusterdns, ConfigMap clusterdns, Deployment clusterdns, " +
			"PodDisruptionBudget clusterdns, Service clusterdns, ServiceAccount clusterdns",
		"cluster-dns.yaml": "ClusterRole coredns, ClusterRole coredns-autoscaler, ClusterRoleBinding coredns, ClusterRoleBinding coredns-autoscaler, " +
			"ConfigMap coredns, ConfigMap coredns-autoscaler, Deployment coredns, Deployment coredns-autoscaler, PodDisruptionBudget coredns, " +
			"Role coredns-autoscaler, RoleBinding coredns-autoscaler, Service coredns-metrics, Service kube-dns, " +
			"ServiceAccount coredns, ServiceAccount coredns-autoscaler, ServiceMonitor coredns",
		"external.yaml": "ClusterRole clusterdns, ClusterRoleBinding clusterdns, ConfigMap clusterdns, Deployment clusterdns, " +
			"HorizontalPodAutoscaler clusterdns, PodDisruptionBudget clusterdns, Service clusterdns, ServiceAccount clusterdns",
		"homelab.yaml": "ClusterRole system:coredns, ClusterRoleBinding system:coredns, ConfigMap coredns, Deployment coredns, " +
			"Service kube-dns, ServiceAccount coredns",
	} {
		values := chartutil.Values{}
		if name != "" {
			values = valuesFile(t, name)
		}
		o, _, err := template(t, values)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(o.names(), ", "); got != want {
			t.Errorf("%q has\n%s\nwant\n%s", name, got, want)
		}
	}
}

// TestChartValues sets a value and looks at what became of it.
func TestChartValues(t *testing.T) {
	for _, test := range []struct{ values, get, want string }{
		{"", "corefile", kubeadmLike},
		{"{servers: [{plugins: [{name: whoami}]}]}", "corefile", ".{whoami}"},
		{"{servers: [{zones: [{zone: a.}, {zone: b., scheme: 'tls://'}], port: 5300, plugins: [{name: cache, parameters: 0}]}]}", "corefile", "a.:5300 tls://b.:5300{cache 0}"},
		{"{servers: [{plugins: [{name: forward, parameters: . 192.0.2.1, configBlock: \"a\\nb {\\n  c\\n}\"}]}, {zones: [{zone: x.}], plugins: []}]}", "corefile", ".{forward . 192.0.2.1{a b{c}}} x.{}"},
		{"{extraConfig: {import: {parameters: /x/*.conf}}, servers: [{plugins: []}]}", "corefile", "import /x/*.conf .{}"},

		{"", "ports", "tcp-53=53 udp-53=53"},
		{"{servers: [{zones: [{zone: .}], port: 53, plugins: []}]}", "ports", "tcp-53=53 udp-53=53"},
		{"{servers: [{zones: [{zone: ., use_tcp: false}], port: 53, plugins: []}]}", "ports", "udp-53=53"},
		{"{serviceType: LoadBalancer, servers: [{zones: [{zone: .}], port: 53, plugins: []}]}", "ports", "udp-53=53"},
		{"{serviceType: NodePort, servers: [{zones: [{zone: ., use_tcp: true}], port: 53, servicePort: 5353, nodePort: 30053, plugins: []}]}", "ports", "tcp-53=5353/30053 udp-53=5353/30053"},
		{"{servers: [{zones: [{zone: ., scheme: 'tls://'}, {zone: b., scheme: 'quic://'}], port: 853, plugins: []}]}", "ports", "tcp-853=853 udp-853=853"},
		{"{servers: [{plugins: []}, {zones: [{zone: b., scheme: 'grpc://'}], port: 443, plugins: []}]}", "ports", "tcp-443=443 tcp-53=53 udp-53=53"},

		{"{image: {repository: r/c, tag: 'sha256:12'}}", "image", "r/c@sha256:12"},
		{"{image: {repository: r/c, tag: 1.5}}", "image", "r/c:1.5"},
		{"{podDisruptionBudget: {minAvailable: 2}}", "budget", "min 2"},
		{"", "budget", "max 1"},
		{"{hpa: {enabled: true}}", "replicas", "none"},
		{"{autoscaler: {enabled: true}, nameOverride: coredns}", "replicas", "none"},
		{"{replicaCount: 5}", "replicas", "5"},
		{"{service: {clusterIPs: [10.96.0.10, 'fd00::a'], ipFamilyPolicy: PreferDualStack, trafficDistribution: PreferClose}}", "service", "[10.96.0.10 fd00::a] PreferDualStack PreferClose"},
		{"{rbac: {multiclusterEnable: true}}", "rights", "endpointslices namespaces pods serviceimports services"},
		{"", "rights", "endpointslices namespaces pods services"},
		{"{dnsConfig: {nameservers: [192.0.2.1]}}", "dns", "None"},
		{"", "dns", "Default"},
		{"{deployment: {dnsConfig: {options: [{name: ndots}]}}}", "dns", "Default"},
		{"{deployment: {dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.1]}}}", "dns", "None"},
		// What CoreDNS's chart has by default, with a nameOverride, and with a label.
		{"{nameOverride: coredns}", "selector", "map[app.kubernetes.io/instance:clusterdns app.kubernetes.io/name:coredns k8s-app:coredns]"},
		{"{nameOverride: dns, k8sAppLabelOverride: coredns}", "selector", "map[app.kubernetes.io/instance:clusterdns app.kubernetes.io/name:dns k8s-app:coredns]"},
		{"{nameOverride: coredns, k8sAppLabelOverride: kube-dns}", "selector", "map[app.kubernetes.io/instance:clusterdns app.kubernetes.io/name:coredns k8s-app:kube-dns]"},
		{"{topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {a: '{{ .Release.Name }}', b: '{{ template \"coredns.name\" . }}'}}}]}", "spread", "z map[a:clusterdns b:clusterdns]"},
		{"", "spread", "topology.kubernetes.io/zone map[app.kubernetes.io/instance:clusterdns app.kubernetes.io/name:clusterdns k8s-app:clusterdns]"},
		{"", "capabilities", "NET_BIND_SERVICE"},
		{"{fastlane: {kernel: true}}", "capabilities", "NET_BIND_SERVICE NET_ADMIN BPF PERFMON"},
		{"{fastlane: {kernel: true}, securityContext: {capabilities: {add: [BPF]}}}", "capabilities", "BPF NET_ADMIN PERFMON"},
		{"{fastlane: {kernel: true}, securityContext: {capabilities: null}}", "capabilities", "NET_ADMIN BPF PERFMON"},
		{"{fastlane: {kernel: true}}", "corefile", strings.Replace(kubeadmLike, "/var/lib/clusterdns}", "/var/lib/clusterdns fastlane kernel}", 1)},
		{"{fastlane: {kernel: true}, servers: [{plugins: [{name: clusterdns}, {name: cache, parameters: 30}]}, {plugins: [{name: kubernetes, configBlock: fastlane off}]}, {plugins: [{name: kubernetes, configBlock: \"ttl 5\\nfastlane kernel eth0\\n\"}]}]}",
			"corefile", ".{clusterdns{fastlane kernel} cache 30} .{kubernetes{fastlane off}} .{kubernetes{ttl 5 fastlane kernel eth0}}"},
		{"{isClusterService: false}", "priority", ""},
		{"", "priority", "system-cluster-critical"},
	} {
		values, err := chartutil.ReadValues([]byte(test.values))
		if err != nil {
			t.Fatal(err)
		}
		o, _, err := template(t, values)
		if err != nil {
			t.Errorf("%s: %v", test.values, err)
			continue
		}
		if got := look(t, o, test.get); got != test.want {
			t.Errorf("%s: %s is\n%s\nwant\n%s", test.values, test.get, got, test.want)
		}
	}
}

const kubeadmLike = ".:53{errors health{lameduck 10s} ready kubernetes cluster.local in-addr.arpa ip6.arpa{pods insecure " +
	"fallthrough in-addr.arpa ip6.arpa ttl 30 snapshot /var/lib/clusterdns} prometheus 0.0.0.0:9153 forward . /etc/resolv.conf cache 30 loop reload loadbalance}"

// look returns one thing of an installation, as text.
func look(t *testing.T, o objects, what string) string {
	t.Helper()
	name := slices.DeleteFunc(o.names(), func(name string) bool {
		return !strings.HasPrefix(name, "Deployment ") || strings.HasSuffix(name, "-autoscaler")
	})[0]
	deployment := find[appsv1.Deployment](t, o, "Deployment", strings.TrimPrefix(name, "Deployment "))
	pod := deployment.Spec.Template.Spec
	switch what {
	case "corefile":
		return squeeze(find[corev1.ConfigMap](t, o, "ConfigMap", "").Data["Corefile"])
	case "ports":
		var out []string
		for _, p := range find[corev1.Service](t, o, "Service", "").Spec.Ports {
			text := fmt.Sprintf("%s=%d", p.Name, p.Port)
			if p.NodePort != 0 {
				text += fmt.Sprintf("/%d", p.NodePort)
			}
			declared := slices.ContainsFunc(pod.Containers[0].Ports, func(c corev1.ContainerPort) bool {
				return c.ContainerPort == p.TargetPort.IntVal && c.Protocol == p.Protocol
			})
			if !declared {
				text += " (of no container)"
			}
			out = append(out, text)
		}
		return strings.Join(out, " ")
	case "image":
		return pod.Containers[0].Image
	case "budget":
		spec := find[policyv1.PodDisruptionBudget](t, o, "PodDisruptionBudget", "").Spec
		switch {
		case spec.MinAvailable != nil && spec.MaxUnavailable == nil:
			return "min " + spec.MinAvailable.String()
		case spec.MinAvailable == nil && spec.MaxUnavailable != nil:
			return "max " + spec.MaxUnavailable.String()
		}
		return fmt.Sprint(spec)
	case "replicas":
		if deployment.Spec.Replicas == nil {
			return "none"
		}
		return fmt.Sprint(*deployment.Spec.Replicas)
	case "service":
		spec := find[corev1.Service](t, o, "Service", "").Spec
		return fmt.Sprint(spec.ClusterIPs, " ", *spec.IPFamilyPolicy, " ", *spec.TrafficDistribution)
	case "rights":
		var out []string
		for _, rule := range find[rbacv1.ClusterRole](t, o, "ClusterRole", "").Rules {
			if !slices.Equal(rule.Verbs, []string{"list", "watch"}) {
				t.Errorf("verbs %v", rule.Verbs)
			}
			out = append(out, rule.Resources...)
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	case "dns":
		return string(pod.DNSPolicy)
	case "selector":
		return fmt.Sprint(deployment.Spec.Selector.MatchLabels)
	case "spread":
		c := pod.TopologySpreadConstraints[0]
		return fmt.Sprint(c.TopologyKey, " ", c.LabelSelector.MatchLabels)
	case "capabilities":
		c := pod.Containers[0].SecurityContext
		if *c.RunAsUser != 65532 || *c.AllowPrivilegeEscalation || !*c.ReadOnlyRootFilesystem {
			t.Errorf("the container is not confined: %+v", c)
		}
		return strings.Trim(fmt.Sprint(c.Capabilities.Add), "[]")
	case "priority":
		return pod.PriorityClassName
	}
	t.Fatalf("nobody knows how to look at %s", what)
	return ""
}

var (
	space = regexp.MustCompile(`\s+`)
	brace = regexp.MustCompile(` ?([{}]) ?`)
	after = regexp.MustCompile(`}([^}])`)
)

// squeeze writes a Corefile in one line, blanks only where they part words.
func squeeze(corefile string) string {
	text := space.ReplaceAllString(strings.TrimSpace(corefile), " ")
	return after.ReplaceAllString(brace.ReplaceAllString(text, "$1"), "} $1")
}

// TestChartReadme looks for every value in the chart's README.
func TestChartReadme(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for key := range loadChart(t).Values {
		if !strings.Contains(string(text), "`"+key) {
			t.Errorf("README.md does not have %s", key)
		}
	}
}

// TestChecksum: a change of the Corefile rolls the pods, and no other does.
func TestChecksum(t *testing.T) {
	sum := func(text string) string {
		t.Helper()
		values, err := chartutil.ReadValues([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		o, _, err := template(t, values)
		if err != nil {
			t.Fatal(err)
		}
		return find[appsv1.Deployment](t, o, "Deployment", "").Spec.Template.Annotations["checksum/config"]
	}
	if before := sum(""); before == "" || before == sum("{servers: [{plugins: [{name: whoami}]}]}") || before != sum("{replicaCount: 5}") {
		t.Errorf("%q for any Corefile", before)
	}
}
