package clusterdns

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clusterdns/clusterdns/plugin/kube"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/fall"
	"k8s.io/apimachinery/pkg/labels"
)

// config is what a stanza of the Corefile says.
type config struct {
	word           string // the directive as written: clusterdns, kubernetes, k8s_external or k8s_gateway
	where          string // file and line of the directive, for errors that show later
	view           zone.Options
	feed           kube.Config
	manifests      []string
	fall           fall.F
	startupTimeout time.Duration
	negativeCache  int // entries; 0 is off
	fastlane       fastlaneConfig
}

// fastlaneConfig is what a stanza says of the fast lane.
type fastlaneConfig struct {
	off        bool
	workers    int      // 0 is one for every two CPUs that Go may use
	kernel     bool     // it answers what it can
	interfaces []string // where; none: those with the server's addresses
}

// Defaults, those of the options that CoreDNS's kubernetes has are its own.
const (
	defaultTTL            = 5
	maxTTL                = 3600
	defaultStartupTimeout = 5 * time.Second
	defaultNegativeCache  = 4096
)

// option is one word inside the stanza.
type option struct {
	name     string
	usage    string // of its arguments
	min, max int    // how many there may be; max -1 is no limit
	set      func(cfg *config, args []string) error
}

// options is every option of the stanza. Those that CoreDNS 1.15's kubernetes
// plugin has mean what they mean there.
var options = []option{
	{"apiserver_burst", "COUNT", 1, 1, func(cfg *config, args []string) (err error) {
		cfg.feed.Burst, err = atLeastZero(args[0])
		return err
	}},
	{"apiserver_max_inflight", "COUNT", 1, 1, func(cfg *config, args []string) (err error) {
		cfg.feed.MaxInflight, err = atLeastZero(args[0])
		return err
	}},
	{"apiserver_qps", "RATE", 1, 1, func(cfg *config, args []string) error {
		qps, err := strconv.ParseFloat(args[0], 32)
		if err != nil || !(qps >= 0) {
			return fmt.Errorf("%q is no number from 0", args[0])
		}
		cfg.feed.QPS = float32(qps)
		return nil
	}},
	{"endpoint", "URL", 1, -1, func(cfg *config, args []string) error {
		if len(args) > 1 {
			log.Warningf("Option endpoint: only the first of %v is used", args)
		}
		cfg.feed.Endpoint = args[0]
		return nil
	}},
	{"endpoint_pod_names", "", 0, 0, func(cfg *config, _ []string) error {
		cfg.feed.PodNames = true
		return nil
	}},
	{"explain", "", 0, 0, func(cfg *config, _ []string) error {
		cfg.view.Explain = zone.DefaultProbes
		return nil
	}},
	{"fallthrough", "[ZONES...]", 0, -1, func(cfg *config, args []string) error {
		cfg.fall.SetZonesFromArgs(args)
		return nil
	}},
	{"fastlane", "off | workers N | kernel [INTERFACE...]", 1, -1, func(cfg *config, args []string) error {
		lane := &cfg.fastlane
		switch {
		case len(args) == 1 && args[0] == "off":
			*lane = fastlaneConfig{off: true}
			return nil
		case len(args) == 2 && args[0] == "workers":
			n, err := strconv.Atoi(args[1])
			if err != nil || n < 1 {
				return fmt.Errorf("%q is no number of workers from 1", args[1])
			}
			lane.off, lane.workers = false, n
			return nil
		case args[0] == "kernel":
			for i, name := range args[1:] {
				if !isInterface(name) {
					return fmt.Errorf("%q is no name of a network interface", name)
				}
				if slices.Contains(args[1:1+i], name) {
					return fmt.Errorf("interface %q twice", name)
				}
			}
			lane.off, lane.kernel, lane.interfaces = false, true, append([]string(nil), args[1:]...)
			return nil
		}
		return fmt.Errorf("%q is none of off, workers N and kernel [INTERFACE...]", strings.Join(args, " "))
	}},
	{"ignore", "empty_service", 1, 1, func(cfg *config, args []string) error {
		if args[0] != "empty_service" {
			return fmt.Errorf("%q is not empty_service", args[0])
		}
		cfg.view.IgnoreEmpty = true
		return nil
	}},
	{"kubeconfig", "FILE [CONTEXT]", 1, 2, func(cfg *config, args []string) error {
		cfg.feed.Kubeconfig = args[0]
		if len(args) == 2 {
			cfg.feed.Context = args[1]
		}
		return nil
	}},
	{"labels", "EXPRESSION", 1, -1, func(cfg *config, args []string) (err error) {
		cfg.feed.Labels, err = selector(args)
		cfg.view.SelectedObjects = true
		return err
	}},
	{"manifests", "PATH...", 1, -1, func(cfg *config, args []string) error {
		cfg.manifests = append(cfg.manifests, args...)
		return nil
	}},
	{"max_answers", "COUNT", 1, 1, func(cfg *config, args []string) error {
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no number of records from 1", args[0])
		}
		cfg.view.MaxAnswers = n
		return nil
	}},
	{"multicluster", "[ZONES...]", 0, -1, func(cfg *config, args []string) error {
		if len(args) == 0 {
			log.Warning("Option multicluster: without zones it does nothing")
		}
		cfg.view.Multicluster = nil
		for _, arg := range args {
			zones := plugin.Host(arg).NormalizeExact()
			if len(zones) == 0 {
				return fmt.Errorf("zone %q is no domain name and no network", arg)
			}
			for _, zone := range zones {
				if !slices.Contains(cfg.view.Zones, zone) {
					return fmt.Errorf("zone %q is none of the stanza's zones %v", arg, cfg.view.Zones)
				}
			}
			cfg.view.Multicluster = append(cfg.view.Multicluster, zones...)
		}
		return nil
	}},
	{"namespace_labels", "EXPRESSION", 1, -1, func(cfg *config, args []string) (err error) {
		cfg.feed.NamespaceLabels, err = selector(args)
		cfg.view.SelectedNamespaces = true
		return err
	}},
	{"namespaces", "NAMESPACE...", 1, -1, func(cfg *config, args []string) error {
		cfg.view.Namespaces = append(cfg.view.Namespaces, args...)
		return nil
	}},
	{"negative_cache", "SIZE|off", 1, 1, func(cfg *config, args []string) error {
		if args[0] == "off" {
			cfg.negativeCache = 0
			return nil
		}
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 1 {
			return fmt.Errorf("%q is neither off nor a number of entries from 1", args[0])
		}
		cfg.negativeCache = n
		return nil
	}},
	{"noendpoints", "", 0, 0, func(cfg *config, _ []string) error {
		cfg.view.NoEndpoints = true
		return nil
	}},
	{"pods", "disabled|insecure|verified", 1, 1, func(cfg *config, args []string) error {
		mode, ok := map[string]zone.PodMode{
			"disabled": zone.PodsDisabled, "insecure": zone.PodsInsecure, "verified": zone.PodsVerified,
		}[args[0]]
		if !ok {
			return fmt.Errorf("%q is none of disabled, insecure and verified", args[0])
		}
		cfg.view.Pods = mode
		return nil
	}},
	{"snapshot", "DIR [MAXAGE]", 1, 2, func(cfg *config, args []string) (err error) {
		if cfg.feed.Snapshot.Dir, err = filepath.Abs(args[0]); err != nil || len(args) == 1 {
			return err
		}
		cfg.feed.Snapshot.MaxAge, err = time.ParseDuration(args[1])
		if err != nil || cfg.feed.Snapshot.MaxAge <= 0 {
			return fmt.Errorf("%q is no duration above 0 such as 12h", args[1])
		}
		return nil
	}},
	{"startup_timeout", "DURATION", 1, 1, func(cfg *config, args []string) error {
		d, err := time.ParseDuration(args[0])
		if err != nil || d < 0 {
			return fmt.Errorf("%q is no duration such as 5s", args[0])
		}
		cfg.startupTimeout = d
		return nil
	}},
	{"tls", "CERT KEY CACERT", 3, 3, func(cfg *config, args []string) error {
		cfg.feed.CertFile, cfg.feed.KeyFile, cfg.feed.CAFile = args[0], args[1], args[2]
		return nil
	}},
	{"ttl", "SECONDS", 1, 1, func(cfg *config, args []string) error {
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 0 || n > maxTTL {
			return fmt.Errorf("%q is no number of seconds from 0 to %d", args[0], maxTTL)
		}
		cfg.view.TTL = uint32(n)
		return nil
	}},
	{"upstream", "[ADDRESS...]", 0, -1, func(*config, []string) error {
		// UCloud UK8S still ships it. CoreDNS has looked names outside up
		// through the server itself since 1.5, and refuses the word since 1.7.
		log.Warning("Option upstream has no effect: targets outside of the zone are looked up through this server")
		return nil
	}},
	{"zonal", "", 0, 0, func(cfg *config, _ []string) error {
		cfg.view.Zonal, cfg.feed.Zones = true, true
		return nil
	}},
}

// isInterface reports whether Linux lets a network interface have the name
// (dev_valid_name).
func isInterface(name string) bool {
	return len(name) > 0 && len(name) < 16 && name != "." && name != ".." && !strings.ContainsAny(name, "/: \t\n\v\f\r")
}

func atLeastZero(arg string) (int, error) {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no whole number from 0", arg)
	}
	return n, nil
}

// selector returns the label selector that args are the words of.
func selector(args []string) (string, error) {
	text := strings.Join(args, " ")
	s, err := labels.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%q is no label selector: %w", text, err)
	}
	return s.String(), nil
}

// parse reads a stanza. Its errors name file, line and value.
func parse(c *caddy.Controller) (*config, error) {
	c.Next()
	cfg := &config{
		word:           c.Val(),
		where:          fmt.Sprintf("%s:%d", c.File(), c.Line()),
		view:           zone.Options{TTL: defaultTTL},
		startupTimeout: defaultStartupTimeout,
		negativeCache:  defaultNegativeCache,
	}
	if err := parseStanza(c, cfg, options); err != nil {
		return nil, err
	}
	f := &cfg.feed
	if len(cfg.manifests) > 0 && f.Snapshot.Dir != "" {
		return nil, c.Err("snapshot saves what an API server says: manifests are files already")
	}
	if len(cfg.view.Namespaces) > 0 && f.NamespaceLabels != "" {
		return nil, c.Err("namespaces and namespace_labels both say which namespaces are shown: use one of them")
	}
	if cfg.view.Zonal && cfg.view.NoEndpoints {
		return nil, c.Err("zonal names are those of endpoints: use it without noendpoints")
	}
	return cfg, nil
}

// parseStanza reads zones and options of a stanza into cfg.
func parseStanza(c *caddy.Controller, cfg *config, options []option) error {
	args := c.RemainingArgs()
	for _, zone := range args {
		if len(plugin.Host(zone).NormalizeExact()) == 0 { // which would leave it out
			return c.Errf("zone %q is no domain name and no network", zone)
		}
	}
	cfg.view.Zones = plugin.OriginsFromArgsOrServerBlock(args, c.ServerBlockKeys)
	if _, err := zone.NewView(zone.NewWriter().Index(), cfg.view); err != nil {
		return c.Errf("%v", err)
	}
	for c.NextBlock() {
		if err := parseOption(c, cfg, options); err != nil {
			return err
		}
	}
	if x := cfg.view.External; x != nil { // its apex is part of names as well
		if _, err := zone.NewView(zone.NewWriter().Index(), cfg.view); err != nil {
			return c.Errf("apex %q: %v", x.Apex, err)
		}
	}
	if cfg.view.Gateway != nil { // the names of its servers likewise
		if _, err := zone.NewView(zone.NewWriter().Index(), cfg.view); err != nil {
			return c.Errf("%v", err)
		}
	}
	if f := &cfg.feed; len(cfg.manifests) > 0 && (f.Endpoint != "" || f.Kubeconfig != "" || f.CertFile != "") {
		return c.Err("manifests stands in the place of an API server: use it without endpoint, kubeconfig and tls")
	}
	if c.Next() {
		return c.Errf("a second %s in one server block", c.Val())
	}
	return nil
}

func parseOption(c *caddy.Controller, cfg *config, options []option) error {
	name := c.Val()
	args := c.RemainingArgs()
	for _, o := range options {
		if o.name != name {
			continue
		}
		if len(args) < o.min || o.max >= 0 && len(args) > o.max {
			return c.Errf("%s takes %q, not %q", name, o.usage, strings.Join(args, " "))
		}
		if err := o.set(cfg, args); err != nil {
			return c.Errf("%s: %v", name, err)
		}
		return nil
	}
	return c.Errf("unknown option %q%s", name, suggestion(name, options))
}

// suggestion names the option that was probably meant by name.
func suggestion(name string, options []option) string {
	name = strings.ToLower(name)
	best, distance := "", 1+len(name)/2
	for _, o := range options {
		if d := editDistance(name, o.name); d < distance {
			best, distance = o.name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// editDistance returns the number of characters to insert, delete or replace
// that makes b of a (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
