package kube

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"
	"sigs.k8s.io/yaml"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// manifestSet gathers the values of the objects in files.
type manifestSet struct {
	conv    *converter
	selects [len(resources)]labels.Selector // what is kept
	version string                          // that all objects are given
	values  [len(resources)][]zone.Object
	origins map[objectName]origin // of raw objects, whether or not they have values
	ignored int                   // objects of other kinds
	kinds   []string              // which, sorted, but no more than maxIgnored
}

// maxIgnored bounds the kinds that are remembered to be named in the log.
const maxIgnored = 20

type objectName struct {
	kind zone.Resource
	zone.Key
}

// origin is a place in a file.
type origin struct {
	file     string
	document int // from 1
	line     int // where the document begins, from 1
	item     int // of a List, from 1; 0: not in a list
	itemLine int // where the item begins, from 1; 0: not known
}

func (o origin) String() string {
	s := fmt.Sprintf("%s: document %d (line %d)", o.file, o.document, o.line)
	if o.item > 0 {
		s += fmt.Sprintf(", item %d", o.item)
	}
	if o.itemLine > 0 {
		s += fmt.Sprintf(" (line %d)", o.itemLine)
	}
	return s
}

func newManifestSet(conv *converter, selects [len(resources)]labels.Selector, version uint64) *manifestSet {
	return &manifestSet{conv: conv, selects: selects, version: fmt.Sprint(version), origins: map[objectName]origin{}}
}

// complete returns the values for each resource, with the namespaces that are
// only implied by the objects in them.
func (m *manifestSet) complete() [len(resources)][]zone.Object {
	for name := range m.origins {
		ns := objectName{zone.Namespaces, zone.Key{Name: name.Namespace}}
		if _, ok := m.origins[ns]; ok || name.kind == zone.Namespaces {
			continue
		}
		m.origins[ns] = m.origins[name]
		m.add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns.Name}}, zone.Namespaces)
	}
	return m.values
}

// addFile adds the objects in a file, and its content to sum. Errors say where
// in the file.
func (m *manifestSet) addFile(file string, sum io.Writer) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("manifests: %w", err)
	}
	_, _ = sum.Write(content) // a hash
	in := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	at := origin{file: file, document: 1, line: 1}
	for {
		document, err := in.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		n, err := m.addText(at, document)
		if err != nil {
			return err
		}
		at.document += n
		at.line += lines(document) + 1 // the separator
	}
}

// addText adds the objects between two separators, and returns how many
// documents that is: one in YAML, or any number in JSON.
func (m *manifestSet) addText(at origin, text []byte) (n int, err error) {
	if utilyaml.IsJSONBuffer(text) {
		if n, err = m.addJSON(at, text); err == nil {
			return n, nil
		}
		// YAML may begin in the same way.
		if syntax := new(json.SyntaxError); n > 0 || !errors.As(err, &syntax) {
			return n, err
		}
		if _, yamlErr := yaml.YAMLToJSON(text); yamlErr != nil {
			return n, err
		}
	}
	if items, ok := splitYAMLList(text); ok {
		return 1, m.addItems(at, text, items)
	}
	asJSON, err := toJSON(text, at.line)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", at, err)
	}
	// Without an object there is just a separator or a comment.
	if bytes.Equal(asJSON, []byte("null")) {
		return 0, nil
	}
	return 1, m.addDocument(at, asJSON)
}

// addItems adds the items of a List, which text is.
func (m *manifestSet) addItems(at origin, text []byte, items []yamlItem) error {
	list := at
	for i, item := range items {
		at.item, at.itemLine = i+1, at.line+item.line
		asJSON, err := toJSON(item.text, at.itemLine)
		switch {
		case isUnknownAnchor(err) && len(text) > maxAliased:
			return fmt.Errorf("%s: %w: aliases of anchors in other items are read in Lists of up to %d bytes, and this has %d", at, err, maxAliased, len(text))
		case isUnknownAnchor(err):
			rejoin(text, items)
			return m.addWhole(list, text, i)
		case err != nil:
			return fmt.Errorf("%s: %w", at, err)
		}
		if err := m.addDocument(at, asJSON); err != nil {
			return err
		}
	}
	return nil
}

// addWhole adds the items of a List but the first, which were added.
func (m *manifestSet) addWhole(at origin, text []byte, added int) error {
	asJSON, err := toJSON(text, at.line)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	var list corev1.List
	if err := json.Unmarshal(asJSON, &list); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	for i := min(added, len(list.Items)); i < len(list.Items); i++ {
		at.item = i + 1
		if err := m.addDocument(at, list.Items[i].Raw); err != nil {
			return err
		}
	}
	return nil
}

// toJSON converts a piece of a file that begins at line.
func toJSON(text []byte, line int) ([]byte, error) {
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		// Again, at its place in the file, for the line in the error.
		_, err = yaml.YAMLToJSON(append(bytes.Repeat([]byte("\n"), line-1), text...))
	}
	return asJSON, err
}

// addJSON adds one JSON document after the other, and returns how many there
// were.
func (m *manifestSet) addJSON(at origin, content []byte) (n int, err error) {
	in := json.NewDecoder(bytes.NewReader(content))
	counted := 0 // so far at.line is counted: from the top for each document would be quadratic
	first := at.line
	for ; ; n++ {
		var document json.RawMessage
		err := in.Decode(&document)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			end := in.InputOffset()
			if syntax := new(json.SyntaxError); errors.As(err, &syntax) {
				end = syntax.Offset
			}
			return n, fmt.Errorf("%s: line %d: %w", at, first+lines(content[:min(int(end), len(content))]), err)
		}
		begin := int(in.InputOffset()) - len(document)
		at.line += lines(content[counted:begin])
		counted = begin
		if err := m.addDocument(at, document); err != nil {
			return n, err
		}
		at.document++
	}
}

func lines(b []byte) int { return bytes.Count(b, []byte("\n")) }

// addDocument adds the object in document, which is JSON, or the objects if it
// is a list.
func (m *manifestSet) addDocument(at origin, document []byte) error {
	decoded, kind, err := codecs.UniversalDeserializer().Decode(document, nil, nil)
	switch {
	case runtime.IsNotRegisteredError(err):
		m.ignore(kind)
		return nil
	case runtime.IsMissingKind(err):
		return fmt.Errorf("%s: kind is missing", at) // err has the whole document
	case runtime.IsMissingVersion(err):
		return fmt.Errorf("%s: apiVersion is missing", at)
	case err != nil:
		return fmt.Errorf("%s: %w", at, err)
	}
	switch decoded := decoded.(type) {
	case object:
		return m.addObject(at, decoded)
	case *corev1.List:
		return m.addRaw(at, decoded.Items)
	case *customList:
		return m.addRaw(at, decoded.Items)
	}
	if !meta.IsListType(decoded) {
		m.ignore(kind) // an option or status of the API itself
		return nil
	}
	return meta.EachListItem(decoded, func(item runtime.Object) error {
		at.item++
		return m.addObject(at, item.(object))
	})
}

// addRaw adds the items of a list that is not decoded further.
func (m *manifestSet) addRaw(at origin, items []runtime.RawExtension) error {
	for i := range items {
		at.item = i + 1
		if err := m.addDocument(at, items[i].Raw); err != nil {
			return err
		}
		items[i].Raw = nil
	}
	return nil
}

func (m *manifestSet) ignore(kind *schema.GroupVersionKind) {
	m.ignored++
	version, name := kind.ToAPIVersionAndKind()
	text := version + " " + name
	if i, found := slices.BinarySearch(m.kinds, text); !found && len(m.kinds) < maxIgnored {
		m.kinds = slices.Insert(m.kinds, i, text)
	}
}

func (m *manifestSet) addObject(at origin, raw object) error {
	var kind zone.Resource
	switch raw := raw.(type) {
	case *corev1.Namespace:
		kind = zone.Namespaces
	case *corev1.Service:
		kind = zone.Services
		for i := range raw.Spec.Ports {
			if raw.Spec.Ports[i].Protocol == "" {
				raw.Spec.Ports[i].Protocol = corev1.ProtocolTCP
			}
		}
	case *discoveryv1.EndpointSlice:
		kind = zone.EndpointSlices
		for i := range raw.Ports {
			if raw.Ports[i].Protocol == nil {
				tcp := corev1.ProtocolTCP
				raw.Ports[i].Protocol = &tcp
			}
		}
	case *corev1.Pod:
		kind = zone.Pods
	case *mcsv1alpha1.ServiceImport:
		kind = zone.ServiceImports
		for i := range raw.Spec.Ports {
			if raw.Spec.Ports[i].Protocol == "" {
				raw.Spec.Ports[i].Protocol = corev1.ProtocolTCP
			}
		}
	default:
		kind = claimant(raw)
	}
	if raw.GetName() == "" {
		return fmt.Errorf("%s: metadata.name is missing", at)
	}
	if kind == zone.Namespaces {
		raw.SetNamespace("")
	} else if raw.GetNamespace() == "" {
		raw.SetNamespace(metav1.NamespaceDefault)
	}
	// Questions are asked in any case, and objects found in lower case.
	for what, value := range map[string]string{"namespace": raw.GetNamespace(), "name": raw.GetName()} {
		if value != strings.ToLower(value) {
			return fmt.Errorf("%s: metadata.%s %q: Kubernetes has names in lower case alone", at, what, value)
		}
	}
	name := objectName{kind, zone.Key{Namespace: raw.GetNamespace(), Name: raw.GetName()}}
	if other, ok := m.origins[name]; ok {
		return fmt.Errorf("%s: %s %s/%s is already in %s", at, kind, name.Namespace, name.Name, other)
	}
	m.origins[name] = at
	m.add(raw, kind)
	return nil
}

func (m *manifestSet) add(raw object, kind zone.Resource) {
	if !m.selects[kind].Matches(labels.Set(raw.GetLabels())) {
		return
	}
	raw.SetResourceVersion(m.version)
	if v := m.conv.value(raw); v != nil {
		m.values[kind] = append(m.values[kind], v)
	}
}
