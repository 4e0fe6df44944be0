package kube

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// GetPod returns a pod, all of it, from the API server that c describes. It is for
// commands: a Feed keeps of pods what answers need.
func GetPod(ctx context.Context, c Config, k zone.Key) (*corev1.Pod, error) {
	clients, _, err := c.clients(newLimiter())
	if err != nil {
		return nil, err
	}
	result := clients[zone.Pods][0].Get().Namespace(k.Namespace).Resource("pods").Name(k.Name).
		SetHeader("Accept", runtime.ContentTypeJSON).Do(ctx)
	err = result.Error() // reads what the API server says of it; Raw does not
	raw, _ := result.Raw()
	if err != nil {
		return nil, fmt.Errorf("pod %s/%s: %w", k.Namespace, k.Name, err)
	}
	pod := new(corev1.Pod)
	if err := json.Unmarshal(raw, pod); err != nil {
		return nil, fmt.Errorf("pod %s/%s: %w", k.Namespace, k.Name, err)
	}
	return pod, nil
}
