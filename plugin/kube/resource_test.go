package kube

import (
	"testing"

	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

func TestResources(t *testing.T) {
	for i, r := range resources {
		if r.id != zone.Resource(i) {
			t.Errorf("row %d is %s", i, r.id)
		}
		if v := new(converter).value(r.new()); v != nil && v.Resource() != r.id {
			t.Errorf("%s converts to %s", r.id, v.Resource())
		}
	}
}

func TestNoAnswerIsRetriable(t *testing.T) {
	if !utilnet.IsConnectionRefused(errNoAnswer) {
		t.Error("the reflector would list anew")
	}
}
