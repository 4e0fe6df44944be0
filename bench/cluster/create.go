package cluster

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/clusterdns/clusterdns/bench/world"
)

// writers is how many requests create a world at the same time.
const writers = 32

// create creates every object of a world.
func create(ctx context.Context, client *kubernetes.Clientset, w *world.World) error {
	for _, name := range w.Namespaces {
		if _, err := client.CoreV1().Namespaces().Create(ctx, world.Namespace(name), metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("namespace %s: %w", name, err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for _, s := range w.All() {
		group.Go(func() error { return Create(ctx, client, s) })
	}
	return group.Wait()
}

// Create creates a service and its slices.
func Create(ctx context.Context, client *kubernetes.Clientset, s world.Service) error {
	if _, err := client.CoreV1().Services(s.Namespace).Create(ctx, s.Object(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("service %s/%s: %w", s.Namespace, s.Name, err)
	}
	for _, slice := range s.Slices(false) {
		if _, err := client.DiscoveryV1().EndpointSlices(s.Namespace).Create(ctx, slice, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("slice %s/%s: %w", s.Namespace, slice.Name, err)
		}
	}
	return nil
}
