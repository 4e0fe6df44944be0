package kube

import (
	"bytes"
	"errors"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// Pods are the largest objects and change most often, and next to nothing of
// them is kept. So their protobuf form is not decoded whole: of the fields
// below the ones that a converter or the reflector reads, and the rest is
// skipped by its length.
//
//	Pod
//	  1 metadata: ObjectMeta
//	      1 name, 3 namespace, 6 resourceVersion
//	      11 labels, 12 annotations: map entries, 1 key, 2 value
//	  3 status: PodStatus
//	      1 phase, 6 podIP, 12 podIPs: PodIP, 1 ip
const (
	podMetadata = 1
	podStatus   = 3

	metaName            = 1
	metaNamespace       = 3
	metaResourceVersion = 6
	metaLabels          = 11
	metaAnnotations     = 12

	statusPhase  = 1
	statusPodIP  = 6
	statusPodIPs = 12
)

var errNotBytes = errors.New("field is not length-delimited")

// decodePod adds to p what is kept of the Pod in data. As for generated
// decoders, a field that comes again replaces the one before, or is merged with
// it. An error means that the generated decoder is to judge.
func decodePod(p *corev1.Pod, data []byte) error {
	return eachBytes(data, func(field protowire.Number, body []byte) error {
		switch field {
		case podMetadata:
			return eachBytes(body, func(field protowire.Number, body []byte) error {
				return decodePodMeta(&p.ObjectMeta, field, body)
			}, metaName, metaNamespace, metaResourceVersion, metaLabels, metaAnnotations)
		case podStatus:
			return eachBytes(body, func(field protowire.Number, body []byte) error {
				switch field {
				case statusPhase:
					p.Status.Phase = corev1.PodPhase(body)
				case statusPodIP:
					p.Status.PodIP = string(body)
				case statusPodIPs:
					ip, _, err := decodePair(body)
					p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: string(ip)})
					return err
				}
				return nil
			}, statusPhase, statusPodIP, statusPodIPs)
		}
		return nil
	}, podMetadata, podStatus)
}

func decodePodMeta(m *metav1.ObjectMeta, field protowire.Number, body []byte) error {
	switch field {
	case metaName:
		m.Name = string(body)
	case metaNamespace:
		m.Namespace = string(body)
	case metaResourceVersion:
		m.ResourceVersion = string(body)
	case metaLabels:
		k, v, err := decodePair(body)
		if m.Labels == nil {
			m.Labels = map[string]string{}
		}
		m.Labels[string(k)] = string(v)
		return err
	case metaAnnotations:
		k, v, err := decodePair(body)
		if string(k) == metav1.InitialEventsAnnotationKey { // of a bookmark
			m.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: string(v)}
		}
		return err
	}
	return nil
}

// decodePair returns fields 1 and 2 of a message.
func decodePair(data []byte) (first, second []byte, err error) {
	err = eachBytes(data, func(field protowire.Number, body []byte) error {
		if field == 1 {
			first = body
		} else {
			second = body
		}
		return nil
	}, 1, 2)
	return first, second, err
}

// eachBytes calls fn for each of the fields in a protobuf message that are
// wanted, which must be length-delimited. Others are skipped.
func eachBytes(data []byte, fn func(protowire.Number, []byte) error, wanted ...protowire.Number) error {
	for len(data) > 0 {
		field, wire, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if !slices.Contains(wanted, field) {
			if n = protowire.ConsumeFieldValue(field, wire, data); n < 0 {
				return protowire.ParseError(n)
			}
			data = data[n:]
			continue
		}
		if wire != protowire.BytesType {
			return errNotBytes
		}
		body, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := fn(field, body); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// unmarshal decodes an item of a list into raw, which is as Reset leaves it.
func unmarshal(raw protobufObject, data []byte) error {
	if pod, ok := raw.(*corev1.Pod); ok {
		if decodePod(pod, data) == nil {
			return nil
		}
		pod.Reset()
	}
	return raw.Unmarshal(data)
}

// codecsOf returns what decodes the events of a watch of r.
func codecsOf(r zone.Resource) runtime.NegotiatedSerializer {
	if r == zone.Pods {
		return podCodecs{codecs.WithoutConversion()}
	}
	return codecs.WithoutConversion()
}

// podCodecs are codecs whose protobuf decoder takes of pods what is kept.
type podCodecs struct{ runtime.NegotiatedSerializer }

// SupportedMediaTypes implements runtime.NegotiatedSerializer.
func (c podCodecs) SupportedMediaTypes() []runtime.SerializerInfo {
	infos := slices.Clone(c.NegotiatedSerializer.SupportedMediaTypes())
	for i := range infos {
		if infos[i].MediaType == runtime.ContentTypeProtobuf {
			infos[i].Serializer = podSerializer{infos[i].Serializer}
		}
	}
	return infos
}

type podSerializer struct{ runtime.Serializer }

var podKind = corev1.SchemeGroupVersion.WithKind("Pod")

// Decode implements runtime.Decoder.
func (s podSerializer) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if into == nil {
		if raw, ok := rawPod(data); ok {
			p := new(corev1.Pod)
			if decodePod(p, raw) == nil {
				kind := podKind
				return p, &kind, nil
			}
		}
	}
	return s.Serializer.Decode(data, defaults, into)
}

// rawPod returns the Pod in data, which is drawn at protobufMagic. It is false
// if data is anything else.
func rawPod(data []byte) (raw []byte, ok bool) {
	rest, ok := bytes.CutPrefix(data, protobufMagic)
	if !ok {
		return nil, false
	}
	const typeMeta, raws, encoding, contentType = 1, fieldRaw, 3, 4
	isPod := false
	err := eachBytes(rest, func(field protowire.Number, body []byte) error {
		switch field {
		case typeMeta:
			version, kind, err := decodePair(body)
			isPod = string(version) == "v1" && string(kind) == "Pod"
			return err
		case raws:
			if raw != nil {
				return errors.New("two objects")
			}
			raw = body
		case encoding:
			if len(body) > 0 {
				return errors.New("encoded otherwise")
			}
		case contentType:
			if len(body) > 0 && string(body) != runtime.ContentTypeProtobuf {
				return errors.New("another content type")
			}
		}
		return nil
	}, typeMeta, raws, encoding, contentType)
	return raw, err == nil && isPod && raw != nil
}
