package clusterdns

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/kube"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin/pkg/fall"
)

// controller returns what the setup of a stanza is given.
func controller(stanza string, keys ...string) *caddy.Controller {
	c := caddy.NewTestController("dns", stanza)
	c.ServerBlockKeys = keys
	return c
}

// tooLong is a zone of 245 octets in wire format.
var tooLong = strings.Repeat(strings.Repeat("z", 60)+".", 4)

func TestParse(t *testing.T) {
	defaults := func(change func(*config)) config {
		cfg := config{
			word: "clusterdns", where: "Testfile:1",
			view:           zone.Options{Zones: []string{"cluster.local."}, TTL: 5},
			startupTimeout: 5 * time.Second,
			negativeCache:  4096,
		}
		change(&cfg)
		return cfg
	}
	inBlock := func(options string) string { return "clusterdns cluster.local {\n" + options + "\n}" }
	for _, row := range []struct {
		stanza string
		want   config
	}{
		{"clusterdns", defaults(func(cfg *config) { cfg.view.Zones = []string{"block.example."} })},
		{"clusterdns cluster.local", defaults(func(*config) {})},
		{"clusterdns cluster.local { }", defaults(func(*config) {})},
		{"clusterdns cluster.local {\n}", defaults(func(*config) {})},
		{"kubernetes Cluster.LOCAL.", defaults(func(cfg *config) { cfg.word = "kubernetes" })},
		{"clusterdns cluster.local 10.0.0.0/8 fd00::/8", defaults(func(cfg *config) {
			cfg.view.Zones = []string{"cluster.local.", "10.in-addr.arpa.", "d.f.ip6.arpa."}
		})},
		{"clusterdns 10.96.0.0/15 cluster.local", defaults(func(cfg *config) {
			cfg.view.Zones = []string{"96.10.in-addr.arpa.", "97.10.in-addr.arpa.", "cluster.local."}
		})},
		{"clusterdns in-addr.arpa ip6.arpa cluster.local", defaults(func(cfg *config) {
			cfg.view.Zones = []string{"in-addr.arpa.", "ip6.arpa.", "cluster.local."}
		})},
		{"clusterdns .", defaults(func(cfg *config) { cfg.view.Zones = []string{"."} })},

		{inBlock("endpoint https://10.0.0.1:6443"), defaults(func(cfg *config) { cfg.feed.Endpoint = "https://10.0.0.1:6443" })},
		{inBlock("endpoint http://a:1 http://b:1"), defaults(func(cfg *config) { cfg.feed.Endpoint = "http://a:1" })},
		{inBlock("tls cert key ca"), defaults(func(cfg *config) {
			cfg.feed = kube.Config{CertFile: "cert", KeyFile: "key", CAFile: "ca"}
		})},
		{inBlock("kubeconfig /etc/kc"), defaults(func(cfg *config) { cfg.feed.Kubeconfig = "/etc/kc" })},
		{inBlock("kubeconfig /etc/kc admin"), defaults(func(cfg *config) { cfg.feed.Kubeconfig, cfg.feed.Context = "/etc/kc", "admin" })},
		{inBlock("apiserver_qps 2.5"), defaults(func(cfg *config) { cfg.feed.QPS = 2.5 })},
		{inBlock("apiserver_qps 0"), defaults(func(*config) {})},
		{inBlock("apiserver_burst 7"), defaults(func(cfg *config) { cfg.feed.Burst = 7 })},
		{inBlock("apiserver_max_inflight 3"), defaults(func(cfg *config) { cfg.feed.MaxInflight = 3 })},
		{inBlock("namespaces shop data\nnamespaces default"), defaults(func(cfg *config) {
			cfg.view.Namespaces = []string{"shop", "data", "default"}
		})},
		{inBlock("namespace_labels env in (prod, test)"), defaults(func(cfg *config) {
			cfg.feed.NamespaceLabels, cfg.view.SelectedNamespaces = "env in (prod,test)", true
		})},
		{inBlock("labels app=web,tier!=db"), defaults(func(cfg *config) {
			cfg.feed.Labels, cfg.view.SelectedObjects = "app=web,tier!=db", true
		})},
		{inBlock("ttl 0"), defaults(func(cfg *config) { cfg.view.TTL = 0 })},
		{inBlock("ttl 3600"), defaults(func(cfg *config) { cfg.view.TTL = 3600 })},
		{inBlock("pods disabled"), defaults(func(*config) {})},
		{inBlock("pods insecure"), defaults(func(cfg *config) { cfg.view.Pods = zone.PodsInsecure })},
		{inBlock("pods verified"), defaults(func(cfg *config) { cfg.view.Pods = zone.PodsVerified })},
		{inBlock("endpoint_pod_names"), defaults(func(cfg *config) { cfg.feed.PodNames = true })},
		{inBlock("noendpoints"), defaults(func(cfg *config) { cfg.view.NoEndpoints = true })},
		{inBlock("ignore empty_service"), defaults(func(cfg *config) { cfg.view.IgnoreEmpty = true })},
		{inBlock("fallthrough"), defaults(func(cfg *config) { cfg.fall = fall.Root })},
		{inBlock("fallthrough in-addr.arpa IP6.arpa."), defaults(func(cfg *config) {
			cfg.fall = fall.F{Zones: []string{"in-addr.arpa.", "ip6.arpa."}}
		})},
		{inBlock("explain"), defaults(func(cfg *config) { cfg.view.Explain = zone.DefaultProbes })},
		{inBlock("fastlane off"), defaults(func(cfg *config) { cfg.fastlane.off = true })},
		{inBlock("fastlane workers 3"), defaults(func(cfg *config) { cfg.fastlane.workers = 3 })},
		{inBlock("fastlane off\nfastlane workers 1"), defaults(func(cfg *config) { cfg.fastlane.workers = 1 })},
		{inBlock("fastlane kernel"), defaults(func(cfg *config) { cfg.fastlane.kernel = true })},
		{inBlock("fastlane kernel eth0 net1.5"), defaults(func(cfg *config) {
			cfg.fastlane = fastlaneConfig{kernel: true, interfaces: []string{"eth0", "net1.5"}}
		})},
		{inBlock("fastlane kernel eth0\nfastlane workers 2"), defaults(func(cfg *config) {
			cfg.fastlane = fastlaneConfig{workers: 2, kernel: true, interfaces: []string{"eth0"}}
		})},
		{inBlock("fastlane workers 2\nfastlane kernel eth0\nfastlane kernel"), defaults(func(cfg *config) {
			cfg.fastlane = fastlaneConfig{workers: 2, kernel: true}
		})},
		{inBlock("fastlane kernel\nfastlane off"), defaults(func(cfg *config) { cfg.fastlane.off = true })},
		{inBlock("multicluster"), defaults(func(*config) {})},
		{"kubernetes cluster.local clusterset.local b.local {\nmulticluster b.local\nmulticluster ClusterSet.local.\n}", defaults(func(cfg *config) {
			cfg.word = "kubernetes"
			cfg.view.Zones, cfg.view.Multicluster = []string{"cluster.local.", "clusterset.local.", "b.local."}, []string{"clusterset.local."}
		})},
		{"clusterdns {\nmulticluster block.example\n}", defaults(func(cfg *config) {
			cfg.view.Zones, cfg.view.Multicluster = []string{"block.example."}, []string{"block.example."}
		})},
		{inBlock("zonal"), defaults(func(cfg *config) { cfg.view.Zonal, cfg.feed.Zones = true, true })},
		{inBlock("startup_timeout 300ms"), defaults(func(cfg *config) { cfg.startupTimeout = 300 * time.Millisecond })},
		{inBlock("startup_timeout 0s"), defaults(func(cfg *config) { cfg.startupTimeout = 0 })},
		{inBlock("upstream"), defaults(func(*config) {})},
		{inBlock("upstream 10.9.10.8 /etc/resolv.conf"), defaults(func(*config) {})},
		{inBlock("snapshot /var/lib/x"), defaults(func(cfg *config) { cfg.feed.Snapshot.Dir = "/var/lib/x" })},
		{inBlock("snapshot /var/lib/x/ 90m"), defaults(func(cfg *config) { cfg.feed.Snapshot = kube.Snapshot{Dir: "/var/lib/x", MaxAge: 90 * time.Minute} })},
		{inBlock("manifests a.yaml /b"), defaults(func(cfg *config) { cfg.manifests = []string{"a.yaml", "/b"} })},
		{inBlock("manifests a.yaml\nmanifests /b"), defaults(func(cfg *config) { cfg.manifests = []string{"a.yaml", "/b"} })},
		{inBlock("max_answers 64"), defaults(func(cfg *config) { cfg.view.MaxAnswers = 64 })},
		{inBlock("negative_cache off"), defaults(func(cfg *config) { cfg.negativeCache = 0 })},
		{inBlock("negative_cache 1"), defaults(func(cfg *config) { cfg.negativeCache = 1 })},
		{inBlock("ttl 30\n# a comment\npods insecure\nendpoint http://a:1\ntls c k ca"), defaults(func(cfg *config) {
			cfg.view.TTL, cfg.view.Pods = 30, zone.PodsInsecure
			cfg.feed = kube.Config{Endpoint: "http://a:1", CertFile: "c", KeyFile: "k", CAFile: "ca"}
		})},
	} {
		got, err := parse(controller(row.stanza, "block.example"))
		if err != nil {
			t.Errorf("%s: %v", row.stanza, err)
		} else if !reflect.DeepEqual(*got, row.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", row.stanza, *got, row.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	inBlock := func(options string) string { return "clusterdns cluster.local {\n" + options + "\n}" }
	for _, row := range []struct{ stanza, want string }{
		{inBlock("tttl 5"), `Testfile:2 - Error during parsing: unknown option "tttl"; did you mean "ttl"?`},
		{inBlock("ttl 5\n\npod verified"), `Testfile:4 - Error during parsing: unknown option "pod"; did you mean "pods"?`},
		{inBlock("fallthru"), `Testfile:2 - Error during parsing: unknown option "fallthru"; did you mean "fallthrough"?`},
		{inBlock("manifest x"), `Testfile:2 - Error during parsing: unknown option "manifest"; did you mean "manifests"?`},
		{inBlock("endpoints http://a"), `Testfile:2 - Error during parsing: unknown option "endpoints"; did you mean "endpoint"?`},
		{inBlock("negativecache off"), `Testfile:2 - Error during parsing: unknown option "negativecache"; did you mean "negative_cache"?`},
		{inBlock("TTL 5"), `Testfile:2 - Error during parsing: unknown option "TTL"; did you mean "ttl"?`},
		{inBlock("x"), `Testfile:2 - Error during parsing: unknown option "x"`},

		{inBlock("ttl"), `Testfile:2 - Error during parsing: ttl takes "SECONDS", not ""`},
		{inBlock("ttl 5 6"), `Testfile:2 - Error during parsing: ttl takes "SECONDS", not "5 6"`},
		{inBlock("ttl five"), `Testfile:2 - Error during parsing: ttl: "five" is no number of seconds from 0 to 3600`},
		{inBlock("ttl -1"), `Testfile:2 - Error during parsing: ttl: "-1" is no number of seconds from 0 to 3600`},
		{inBlock("ttl 3601"), `Testfile:2 - Error during parsing: ttl: "3601" is no number of seconds from 0 to 3600`},
		{inBlock("pods maybe"), `Testfile:2 - Error during parsing: pods: "maybe" is none of disabled, insecure and verified`},
		{inBlock("pods"), `Testfile:2 - Error during parsing: pods takes "disabled|insecure|verified", not ""`},
		{inBlock("ignore everything"), `Testfile:2 - Error during parsing: ignore: "everything" is not empty_service`},
		{inBlock("noendpoints now"), `Testfile:2 - Error during parsing: noendpoints takes "", not "now"`},
		{inBlock("endpoint"), `Testfile:2 - Error during parsing: endpoint takes "URL", not ""`},
		{inBlock("tls cert key"), `Testfile:2 - Error during parsing: tls takes "CERT KEY CACERT", not "cert key"`},
		{inBlock("kubeconfig"), `Testfile:2 - Error during parsing: kubeconfig takes "FILE [CONTEXT]", not ""`},
		{inBlock("kubeconfig a b c"), `Testfile:2 - Error during parsing: kubeconfig takes "FILE [CONTEXT]", not "a b c"`},
		{inBlock("apiserver_qps many"), `Testfile:2 - Error during parsing: apiserver_qps: "many" is no number from 0`},
		{inBlock("apiserver_qps -1"), `Testfile:2 - Error during parsing: apiserver_qps: "-1" is no number from 0`},
		{inBlock("apiserver_qps NaN"), `Testfile:2 - Error during parsing: apiserver_qps: "NaN" is no number from 0`},
		{inBlock("apiserver_burst 1.5"), `Testfile:2 - Error during parsing: apiserver_burst: "1.5" is no whole number from 0`},
		{inBlock("apiserver_max_inflight -1"), `Testfile:2 - Error during parsing: apiserver_max_inflight: "-1" is no whole number from 0`},
		{inBlock("startup_timeout 5"), `Testfile:2 - Error during parsing: startup_timeout: "5" is no duration such as 5s`},
		{inBlock("startup_timeout -5s"), `Testfile:2 - Error during parsing: startup_timeout: "-5s" is no duration such as 5s`},
		{inBlock("snapshot"), `Testfile:2 - Error during parsing: snapshot takes "DIR [MAXAGE]", not ""`},
		{inBlock("snapshot /var/lib/x 1d"), `Testfile:2 - Error during parsing: snapshot: "1d" is no duration above 0 such as 12h`},
		{inBlock("snapshot /var/lib/x 0s"), `Testfile:2 - Error during parsing: snapshot: "0s" is no duration above 0 such as 12h`},
		{inBlock("manifests x\nsnapshot /var/lib/x"), `Testfile:4 - Error during parsing: snapshot saves what an API server says: manifests are files already`},
		{inBlock("explain all"), `Testfile:2 - Error during parsing: explain takes "", not "all"`},
		{inBlock("fastlane"), `Testfile:2 - Error during parsing: fastlane takes "off | workers N | kernel [INTERFACE...]", not ""`},
		{inBlock("fastlane off now please"), `Testfile:2 - Error during parsing: fastlane: "off now please" is none of off, workers N and kernel [INTERFACE...]`},
		{inBlock("fastlane on"), `Testfile:2 - Error during parsing: fastlane: "on" is none of off, workers N and kernel [INTERFACE...]`},
		{inBlock("fastlane off 3"), `Testfile:2 - Error during parsing: fastlane: "off 3" is none of off, workers N and kernel [INTERFACE...]`},
		{inBlock("fastlane workers"), `Testfile:2 - Error during parsing: fastlane: "workers" is none of off, workers N and kernel [INTERFACE...]`},
		{inBlock("fastlane kernels"), `Testfile:2 - Error during parsing: fastlane: "kernels" is none of off, workers N and kernel [INTERFACE...]`},
		{inBlock("fastlane kernel eth/0"), `Testfile:2 - Error during parsing: fastlane: "eth/0" is no name of a network interface`},
		{inBlock("fastlane kernel eth0 .."), `Testfile:2 - Error during parsing: fastlane: ".." is no name of a network interface`},
		{inBlock("fastlane kernel abcdefghijklmnop"), `Testfile:2 - Error during parsing: fastlane: "abcdefghijklmnop" is no name of a network interface`},
		{inBlock("fastlane kernel eth0 eth1 eth0"), `Testfile:2 - Error during parsing: fastlane: interface "eth0" twice`},
		{inBlock("fastlane workers 0"), `Testfile:2 - Error during parsing: fastlane: "0" is no number of workers from 1`},
		{inBlock("fastlane workers two"), `Testfile:2 - Error during parsing: fastlane: "two" is no number of workers from 1`},
		{inBlock("max_answers 0"), `Testfile:2 - Error during parsing: max_answers: "0" is no number of records from 1`},
		{inBlock("max_answers many"), `Testfile:2 - Error during parsing: max_answers: "many" is no number of records from 1`},
		{inBlock("max_answers"), `Testfile:2 - Error during parsing: max_answers takes "COUNT", not ""`},
		{inBlock("negative_cache 0"), `Testfile:2 - Error during parsing: negative_cache: "0" is neither off nor a number of entries from 1`},
		{inBlock("negative_cache on"), `Testfile:2 - Error during parsing: negative_cache: "on" is neither off nor a number of entries from 1`},
		{inBlock("ttl 5\nmulticluster clusterset.local"),
			`Testfile:3 - Error during parsing: multicluster: zone "clusterset.local" is none of the stanza's zones [cluster.local.]`},
		{"clusterdns cluster.local " + tooLong, `Testfile:1 - Error during parsing: zone "` + tooLong + `" is too long: 245 octets, of which the names in its SOA record leave 244`},
		{inBlock("multicluster a..b"), `Testfile:2 - Error during parsing: multicluster: zone "a..b" is no domain name and no network`},
		{inBlock("zonal now"), `Testfile:2 - Error during parsing: zonal takes "", not "now"`},
		{inBlock("zonal\nnoendpoints"), `Testfile:4 - Error during parsing: zonal names are those of endpoints: use it without noendpoints`},
		{inBlock("manifests"), `Testfile:2 - Error during parsing: manifests takes "PATH...", not ""`},
		{inBlock("manifests x\nendpoint http://a"),
			`Testfile:4 - Error during parsing: manifests stands in the place of an API server: use it without endpoint, kubeconfig and tls`},
		{inBlock("kubeconfig k\nmanifests x"),
			`Testfile:4 - Error during parsing: manifests stands in the place of an API server: use it without endpoint, kubeconfig and tls`},

		{"clusterdns 10.in-addr.arpa ip6.arpa", `Testfile:1 - Error during parsing: zones [10.in-addr.arpa. ip6.arpa.]: none that is not a reverse zone`},
		{"clusterdns in-addr.arpa", `Testfile:1 - Error during parsing: zones [in-addr.arpa.]: none that is not a reverse zone`},
		{"clusterdns cluster.local\nclusterdns other.local", `Testfile:2 - Error during parsing: a second clusterdns in one server block`},
		{"clusterdns cluster.local {\nttl 3\n}\nclusterdns", `Testfile:4 - Error during parsing: a second clusterdns in one server block`},
	} {
		cfg, err := parse(controller(row.stanza, "block.example"))
		if err == nil {
			t.Errorf("%s: no error, got %+v", row.stanza, cfg)
		} else if err.Error() != row.want {
			t.Errorf("%s:\ngot  %v\nwant %v", row.stanza, err, row.want)
		}
	}
}

// A zone that is no domain name is an error, not left out.
func TestParseBadZones(t *testing.T) {
	for _, bad := range []string{
		strings.Repeat("x", 64) + ".local", "a..b", "10.0.0.0/33:", "cluster.local:",
	} {
		_, err := parse(controller("clusterdns cluster.local " + bad))
		if err == nil || !strings.HasPrefix(err.Error(), "Testfile:1 - ") || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: got error %v, want one that names file, line and zone", bad, err)
		}
	}
	if _, err := parse(controller("clusterdns", "10.in-addr.arpa.")); err == nil {
		t.Error("a reverse zone from the server block: no error")
	}
}

// The options that CoreDNS 1.15's kubernetes has and this plugin promises, those
// of its own, and upstream.
func TestOptionNames(t *testing.T) {
	want := "apiserver_burst apiserver_max_inflight apiserver_qps endpoint endpoint_pod_names explain fallthrough fastlane ignore " +
		"kubeconfig labels manifests max_answers multicluster namespace_labels namespaces negative_cache noendpoints pods snapshot startup_timeout tls ttl upstream zonal"
	var got []string
	for _, o := range options {
		got = append(got, o.name)
		if s := suggestion(o.name+"s", options); s == "" {
			t.Errorf("no suggestion for %ss", o.name)
		}
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestEditDistance(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"ttl", "ttl", 0}, {"", "ttl", 3}, {"ttl", "", 3}, {"tttl", "ttl", 1}, {"tl", "ttl", 1},
		{"ttk", "ttl", 1}, {"pods", "dops", 2}, {"kitten", "sitting", 3}, {"abc", "xyz", 3},
	} {
		if got := editDistance(row.a, row.b); got != row.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", row.a, row.b, got, row.want)
		}
	}
}
