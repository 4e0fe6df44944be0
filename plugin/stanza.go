package clusterdns

import (
	"slices"

	"github.com/clusterdns/clusterdns/plugin/eligible"
	"github.com/clusterdns/clusterdns/plugin/kube"
	"github.com/clusterdns/clusterdns/plugin/zone"
)

// Stanza is what a stanza clusterdns or kubernetes asks for. It is for those who
// explain a Corefile without serving it.
type Stanza struct {
	eligible.Stanza
	Workers      int           // of the fast lane; 0 is one for every two CPUs that Go may use
	Kernel       bool          // it is to answer what it can
	Interfaces   []string      // where; none: those with the server's addresses
	Source       string        // of objects: an API server's URL, a kubeconfig file, or "" for the pod's service account
	Files        []string      // that it reads: manifests, credentials, a kubeconfig
	Access       []kube.Access // to an API server; none with manifests
	Multicluster bool
	Hides        bool // namespaces, by their labels
	// View is how it answers, and Kept what it keeps of objects; whose they are is
	// left out of that.
	View zone.Options
	Kept kube.Config
}

// Stanza returns what h's stanza says. It may be called before h has started.
func (h *Handler) Stanza() Stanza {
	cfg := h.cfg
	s := Stanza{
		Stanza: cfg.judged(), Workers: cfg.fastlane.workers, Kernel: cfg.fastlane.kernel, Interfaces: slices.Clone(cfg.fastlane.interfaces),
		Multicluster: len(cfg.view.Multicluster) > 0, Hides: cfg.feed.NamespaceLabels != "",
		View: cfg.view, Kept: kube.Config{
			PodNames: cfg.feed.PodNames, Zones: cfg.feed.Zones, Labels: cfg.feed.Labels, NamespaceLabels: cfg.feed.NamespaceLabels,
		},
	}
	if len(cfg.manifests) > 0 {
		s.Source, s.Files = "manifests", slices.Clone(cfg.manifests)
		return s
	}
	s.Access = cfg.follows().Access()
	if cfg.feed.Kubeconfig != "" {
		s.Source, s.Files = cfg.feed.Kubeconfig, []string{cfg.feed.Kubeconfig}
	}
	if cfg.feed.Endpoint != "" {
		s.Source = cfg.feed.Endpoint
	}
	for _, file := range []string{cfg.feed.CertFile, cfg.feed.KeyFile, cfg.feed.CAFile} {
		if file != "" {
			s.Files = append(s.Files, file)
		}
	}
	return s
}

// judged is the stanza as the judge of Corefiles has to know it.
func (cfg *config) judged() eligible.Stanza {
	return eligible.Stanza{Word: cfg.word, Where: cfg.where, Zones: cfg.view.Zones, Off: cfg.fastlane.off}
}
