package kube

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	_ "k8s.io/client-go/plugin/pkg/client/auth/oidc" // kubeconfig users that log in so
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// Config says which API server to follow, as whom, and what of it. Configs that
// differ in nothing but NoEndpoints, Pods, Multicluster, Only, QPS, Burst,
// MaxInflight and Snapshot share a source; the limits of the one that came last hold for it.
//
// Kubeconfig goes before Endpoint. With neither, the process is in a pod and
// uses the service account mounted there (environment KUBERNETES_SERVICE_HOST
// and KUBERNETES_SERVICE_PORT); its token is read again as it is rotated.
type Config struct {
	Kubeconfig string // path of a kubeconfig file
	Context    string // context in it; empty for its current-context

	Endpoint string // URL of the API server, or host:port
	CertFile string // client certificate for Endpoint; read again when it changes
	KeyFile  string // its key
	CAFile   string // CA certificates that Endpoint is verified with; empty for the system's

	QPS   float32 // requests a second; 0 for client-go's 5
	Burst int     // requests at once above QPS; 0 for client-go's 10
	// MaxInflight is how many requests may wait for an answer at the same
	// time; 0 for no limit. A watch counts until its first bytes are back.
	MaxInflight int

	PodNames bool // endpoints without a hostname are named after their pods
	Zones    bool // keep the topology zones of endpoints

	// Labels selects Services, EndpointSlices and Pods, NamespaceLabels
	// Namespaces and, as CoreDNS has it, ServiceImports by labels of their own,
	// in the syntax of labels.Parse. Empty selects all.
	Labels, NamespaceLabels string

	NoEndpoints  bool // do not follow EndpointSlices, unless there is Multicluster
	Pods         bool // follow Pods
	Multicluster bool // follow ServiceImports
	// Only, if not 0, are the resources to follow, and nothing else: bit 1<<r
	// for the zone.Resource r.
	Only uint32

	// Snapshot is where the source is saved. Of several holders that want it, it is
	// where the last one does.
	Snapshot Snapshot

	bounds bounds // of the API server's silence
	delays delays
	saving saving
}

// selector returns the label selector for the objects of r.
func (c Config) selector(r zone.Resource) string {
	if r == zone.Namespaces || r == zone.ServiceImports {
		return c.NamespaceLabels
	}
	return c.Labels
}

// selectors returns the selectors for each resource. An error names the one
// that is wrong.
func (c Config) selectors() (selects [len(resources)]labels.Selector, err error) {
	for r := range selects {
		text := c.selector(zone.Resource(r))
		if selects[r], err = labels.Parse(text); err != nil {
			return selects, fmt.Errorf("label selector %q: %w", text, err)
		}
	}
	return selects, nil
}

// resources returns what c wants followed.
func (c Config) resources() []zone.Resource {
	if c.Only != 0 {
		var rs []zone.Resource
		for r := range resources {
			if c.Only>>r&1 != 0 {
				rs = append(rs, zone.Resource(r))
			}
		}
		return rs
	}
	rs := []zone.Resource{zone.Namespaces, zone.Services}
	if !c.NoEndpoints || c.Multicluster {
		rs = append(rs, zone.EndpointSlices)
	}
	if c.Pods {
		rs = append(rs, zone.Pods)
	}
	if c.Multicluster {
		rs = append(rs, zone.ServiceImports)
	}
	return rs
}

// Access is a resource that an account has to be allowed to list and to watch,
// in all namespaces.
type Access struct {
	Group    string `json:"apiGroup"` // "" is the core group
	Resource string `json:"resource"`
}

// Access returns what the account of c has to be allowed.
func (c Config) Access() (list []Access) {
	for _, r := range c.resources() {
		list = append(list, Access{resources[r].group.Group, r.String()})
	}
	return list
}

// sourceKey identifies a source. A kubeconfig file that was edited may mean
// another cluster, so its content is part of it.
type sourceKey struct {
	config     Config
	kubeconfig [sha256.Size]byte
	manifests  string // paths, if it is a source of manifests
}

func (c Config) key() (sourceKey, error) {
	k := sourceKey{config: c}
	k.config.NoEndpoints, k.config.Pods, k.config.Multicluster, k.config.Only = false, false, false, 0
	k.config.QPS, k.config.Burst, k.config.MaxInflight = 0, 0, 0
	k.config.Snapshot = Snapshot{}
	if c.Kubeconfig != "" {
		content, err := os.ReadFile(c.Kubeconfig)
		if err != nil {
			return k, fmt.Errorf("kubeconfig: %w", err)
		}
		k.kubeconfig = sha256.Sum256(content)
	}
	return k, nil
}

// distinction says what tells a source from others of the same API server.
func (c Config) distinction() string {
	var parts []string
	for _, p := range []struct{ what, value string }{{"labels", c.Labels}, {"namespace_labels", c.NamespaceLabels}} {
		if p.value != "" {
			parts = append(parts, p.what+" "+p.value)
		}
	}
	if c.PodNames {
		parts = append(parts, "endpoint_pod_names")
	}
	if c.Zones {
		parts = append(parts, "zonal")
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// clients are those of each of resources, for each of its versions, the newest
// first.
type clients [len(resources)][]rest.Interface

// clients returns clients that stay within the limits of l, and the API server's
// address.
func (c Config) clients(l *limiter) (*clients, string, error) {
	if _, err := c.selectors(); err != nil {
		return nil, "", err
	}
	config, err := c.rest()
	if err != nil {
		return nil, "", err
	}
	if config.CertFile != "" || config.KeyFile != "" {
		if _, err := tls.LoadX509KeyPair(config.CertFile, config.KeyFile); err != nil {
			return nil, "", fmt.Errorf("client certificate %q and key %q: %w", config.CertFile, config.KeyFile, err)
		}
	}
	if config.CAFile != "" {
		if _, err := cert.NewPool(config.CAFile); err != nil {
			return nil, "", fmt.Errorf("CA certificate %q: %w", config.CAFile, err)
		}
	}
	config.UserAgent = userAgent()
	config.ContentType = k8sruntime.ContentTypeProtobuf
	config.AcceptContentTypes = k8sruntime.ContentTypeProtobuf + "," + k8sruntime.ContentTypeJSON
	config.WarningHandler = rest.NoWarnings{} // they are for people who write objects
	bounds := c.bounds.orDefault()
	if config.Dial == nil {
		config.Dial = dialer(bounds.ping)
	}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &answering{next: pinging(next, bounds.ping), limiter: l, within: bounds.answer}
	})
	if path := config.BearerTokenFile; path != "" {
		config.BearerToken, config.BearerTokenFile = "", ""
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &tokenFile{next: next, path: path} })
	}
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, "", fmt.Errorf("API server %q: %w", config.Host, err)
	}
	config.RateLimiter = l // one limit for all, as a clientset has it

	all := new(clients)
	for i, r := range resources {
		config.NegotiatedSerializer = codecs.WithoutConversion()
		for _, group := range r.versions() {
			config.GroupVersion, config.APIPath = &group, "/apis"
			if group.Group == "" {
				config.APIPath = "/api"
			}
			client, err := rest.RESTClientForConfigAndClient(config, httpClient)
			if err != nil {
				return nil, "", fmt.Errorf("API server %q: %w", config.Host, err)
			}
			all[i] = append(all[i], client)
		}
	}
	return all, config.Host, nil
}

// rest returns who and where.
func (c Config) rest() (*rest.Config, error) {
	switch {
	case c.Kubeconfig != "":
		rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: c.Kubeconfig}
		file, err := rules.Load()
		if err != nil {
			return nil, fmt.Errorf("kubeconfig %q: %w", c.Kubeconfig, err)
		}
		// What clientcmd says of these is no help.
		name := cmp.Or(c.Context, file.CurrentContext)
		context := file.Contexts[name]
		switch {
		case name == "":
			return nil, fmt.Errorf("kubeconfig %q: it has no current-context, and no context is given", c.Kubeconfig)
		case context == nil:
			return nil, fmt.Errorf("kubeconfig %q: context %q does not exist", c.Kubeconfig, name)
		case file.Clusters[context.Cluster] == nil:
			return nil, fmt.Errorf("kubeconfig %q: cluster %q of context %q does not exist", c.Kubeconfig, context.Cluster, name)
		}
		config, err := clientcmd.NewNonInteractiveClientConfig(*file, name, nil, rules).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("kubeconfig %q, context %q: %w", c.Kubeconfig, name, err)
		}
		return config, nil
	case c.Endpoint != "":
		return &rest.Config{Host: c.Endpoint, TLSClientConfig: rest.TLSClientConfig{
			CertFile: c.CertFile, KeyFile: c.KeyFile, CAFile: c.CAFile,
		}}, nil
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("neither endpoint nor kubeconfig is given, and using the pod's service account: %w", err)
	}
	return config, nil
}

// userAgent is what API server logs call us.
func userAgent() string {
	version, commit := "devel", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "" && v != "(devel)" {
			version = v
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	return fmt.Sprintf("clusterdns/%s git_commit:%s (%s/%s/%s)", version, commit, runtime.GOOS, runtime.GOARCH, runtime.Version())
}
