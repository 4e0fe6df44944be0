package kube

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

func TestDelayLimit(t *testing.T) {
	services := schema.GroupResource{Resource: "services"}
	for _, test := range []struct {
		err  error
		want time.Duration
	}{
		{nil, maxDelay},
		{io.ErrUnexpectedEOF, maxAway},
		{errNoAnswer, maxAway},
		{errors.New("no such host"), maxAway},
		{apierrors.NewForbidden(services, "", nil), maxDelay},
		{fmt.Errorf("failed to list services: %w", apierrors.NewUnauthorized("")), maxUnauthorized},
		{apierrors.NewNotFound(services, ""), maxDelay},
		{fmt.Errorf("failed to list services: %w", apierrors.NewServiceUnavailable("starting")), maxAway},
		{apierrors.NewTooManyRequests("", 1), maxAway},
		{apierrors.NewInternalError(io.EOF), maxAway},
		{apierrors.NewTimeoutError("", 1), maxAway},
	} {
		if got := delayLimit(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
}

func TestNoAnswerIsRetriable(t *testing.T) {
	if !utilnet.IsConnectionRefused(errNoAnswer) {
		t.Error("the reflector would list anew")
	}
}
