package explain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// podIn returns a pod from manifests, of which package kube keeps too little of
// pods. The files have been read without an error before.
func podIn(paths []string, k zone.Key) (*corev1.Pod, error) {
	for _, path := range paths {
		files := []string{path}
		if entries, err := os.ReadDir(path); err == nil {
			files = files[:0]
			for _, e := range entries {
				switch filepath.Ext(e.Name()) {
				case ".yaml", ".yml", ".json":
					files = append(files, filepath.Join(path, e.Name()))
				}
			}
		}
		for _, file := range files {
			pod, err := podInFile(file, k)
			if pod != nil || err != nil {
				return pod, err
			}
		}
	}
	return nil, fmt.Errorf("pod %s/%s is not in the manifests", k.Namespace, k.Name)
}

func podInFile(file string, k zone.Key) (*corev1.Pod, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := utilyaml.NewYAMLOrJSONDecoder(f, 4096)
	for {
		var raw json.RawMessage
		if err := in.Decode(&raw); errors.Is(err, io.EOF) {
			return nil, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		pod, err := podInObject(raw, k)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if pod != nil {
			return pod, nil
		}
	}
}

// podInObject returns the pod if raw is it, or a List that has it.
func podInObject(raw json.RawMessage, k zone.Key) (*corev1.Pod, error) {
	var object struct {
		Kind     string
		Metadata struct{ Namespace, Name string }
		Items    []json.RawMessage
	}
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	for _, item := range object.Items {
		if pod, err := podInObject(item, k); pod != nil || err != nil {
			return pod, err
		}
	}
	if object.Metadata.Namespace == "" {
		object.Metadata.Namespace = corev1.NamespaceDefault
	}
	if object.Kind != "Pod" || object.Metadata.Namespace != k.Namespace || object.Metadata.Name != k.Name {
		return nil, nil
	}
	pod := new(corev1.Pod)
	if err := json.Unmarshal(raw, pod); err != nil {
		return nil, fmt.Errorf("pod %s/%s: %w", k.Namespace, k.Name, err)
	}
	pod.Namespace = object.Metadata.Namespace
	return pod, nil
}
