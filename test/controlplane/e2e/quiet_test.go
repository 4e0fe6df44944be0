package e2e

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestMetrics compares what the server tells of itself with what the API says.
func TestMetrics(t *testing.T) {
	s := newSpace(t, client)
	s.create(selecting("web", service("web")))
	s.create(selecting("web", headless(service("headless"))))
	s.deploy("web", 2)
	q := a(s.fqdn("headless"))
	shared.becomes(t, q, addrText(q, addrsOf(s.pods("web", 2)...)...))

	ctx, all := t.Context(), metav1.ListOptions{}
	count := map[string]func() (int, string, error){
		"namespaces": func() (int, string, error) {
			l, err := client.CoreV1().Namespaces().List(ctx, all)
			return len(l.Items), l.ResourceVersion, err
		},
		"services": func() (int, string, error) {
			l, err := client.CoreV1().Services("").List(ctx, all)
			return len(l.Items), l.ResourceVersion, err
		},
		"endpointslices": func() (int, string, error) {
			l, err := client.DiscoveryV1().EndpointSlices("").List(ctx, all)
			return len(l.Items), l.ResourceVersion, err
		},
		"pods": func() (int, string, error) {
			l, err := client.CoreV1().Pods("").List(ctx, all)
			return len(l.Items), l.ResourceVersion, err
		},
	}
	for resource, of := range count {
		label := fmt.Sprintf("resource=%q", resource)
		get := func(name string, labels ...string) float64 {
			return shared.metric(t, "coredns_clusterdns_"+name, append(labels, label)...)
		}
		var objects int
		wait(t, "the number of "+resource, func() error {
			n, _, err := of()
			if objects = int(get("objects")); err == nil && objects != n {
				err = fmt.Errorf("%d objects in the index, %d in the API", objects, n)
			}
			return err
		})
		if get("synced") != 1 || get("lists_total") != 1 {
			t.Errorf("%s: synced %v, lists %v, want 1 and 1", resource, get("synced"), get("lists_total"))
		}
		version := get("resource_version")
		_, newest, err := of()
		if highest, _ := strconv.ParseFloat(newest, 64); err != nil || version < 1 || version > highest {
			t.Errorf("%s: resourceVersion %.0f, the API server is at %s: %v", resource, version, newest, err)
		}
		event, contact := get("last_event_timestamp_seconds"), get("last_contact_timestamp_seconds")
		now := float64(time.Now().UnixMilli()) / 1000
		if event > contact || contact > now+1 || contact < now-120 {
			t.Errorf("%s: last event at %f, contact at %f, now %f", resource, event, contact, now)
		}
		t.Logf("%s: %d objects; %v added, %v modified, %v deleted since the list; last contact %.1f s ago", resource, objects,
			get("events_total", `type="added"`), get("events_total", `type="modified"`), get("events_total", `type="deleted"`), now-contact)
	}
	if serial, metric := shared.serial(t), shared.metric(t, "coredns_clusterdns_serial"); float64(serial) != metric {
		t.Errorf("serial is %d, in metrics %.0f", serial, metric)
	}
	for _, kind := range []string{"cluster_ip", "headless_with_selector"} {
		label := fmt.Sprintf("service_kind=%q", kind)
		n := shared.metric(t, "coredns_kubernetes_dns_programming_duration_seconds_count", label)
		sum := shared.metric(t, "coredns_kubernetes_dns_programming_duration_seconds_sum", label)
		if n == 0 {
			t.Errorf("no DNS programming latency of %s", kind)
		}
		t.Logf("DNS programming latency of %s: %v samples, mean %.3f s", kind, n, sum/n)
	}
	if shared.metric(t, "coredns_kubernetes_rest_client_requests_total", `code="200"`) < float64(len(count)) {
		t.Error("fewer requests than resources")
	}
}

// TestQuiet waits until bookmarks, and nothing else, have moved the time of the
// last contact of every feed. API servers send them about once a minute.
func TestQuiet(t *testing.T) {
	t.Parallel()
	type state struct{ events, contact float64 }
	last := map[string]state{}
	for _, resource := range []string{"namespaces", "services", "endpointslices", "pods"} {
		last[resource] = state{}
	}
	start := time.Now()
	waitFor := 3 * time.Minute
	for len(last) > 0 && time.Since(start) < waitFor {
		err := poll(func() error {
			for resource, before := range last {
				label := fmt.Sprintf("resource=%q", resource)
				now := state{
					shared.metric(t, "coredns_clusterdns_events_total", label),
					shared.metric(t, "coredns_clusterdns_last_contact_timestamp_seconds", label),
				}
				if before.contact != 0 && now.events == before.events && now.contact > before.contact {
					t.Logf("%s: a bookmark after %v", resource, time.Since(start))
					delete(last, resource)
					return nil
				}
				last[resource] = now
			}
			return errors.New("no bookmark")
		})
		if err != nil {
			t.Log(err)
		}
	}
	if len(last) > 0 {
		t.Errorf("no bookmark within %v moved the last contact of %v", waitFor, last)
	}
}
