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
	d := delays{}.orDefault()
	services := schema.GroupResource{Resource: "services"}
	for _, test := range []struct {
		err  error
		want time.Duration
	}{
		{nil, 30 * time.Second},
		{io.ErrUnexpectedEOF, time.Second},
		{errNoAnswer, time.Second},
		{errors.New("no such host"), time.Second},
		{apierrors.NewForbidden(services, "", nil), 30 * time.Second},
		{fmt.Errorf("failed to list services: %w", apierrors.NewUnauthorized("")), 5 * time.Second},
		{apierrors.NewNotFound(services, ""), 30 * time.Second},
		{fmt.Errorf("failed to list services: %w", apierrors.NewServiceUnavailable("starting")), time.Second},
		{apierrors.NewTooManyRequests("", 1), time.Second},
		{apierrors.NewInternalError(io.EOF), time.Second},
		{apierrors.NewTimeoutError("", 1), time.Second},
	} {
		if got := d.limit(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
}

func TestNoAnswerIsRetriable(t *testing.T) {
	if !utilnet.IsConnectionRefused(errNoAnswer) {
		t.Error("the reflector would list anew")
	}
}
