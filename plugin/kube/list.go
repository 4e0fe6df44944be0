package kube

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// listing is a list of values in the form in which a reflector's list code
// passes them on to Replace.
type listing struct {
	metav1.ListMeta
	Items []runtime.Object // of type listed
}

func (*listing) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }
func (l *listing) DeepCopyObject() runtime.Object { return l }

// listed is a value, which is immutable, as a runtime.Object.
type listed struct{ zone.Object }

func (listed) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }
func (l listed) DeepCopyObject() runtime.Object { return l }

// The protobuf form of a list, as apimachinery's serializer/protobuf and
// runtime/generated.proto draw it. Nothing else is in a list's body.
//
//	"k8s" 0x00
//	Unknown
//	  1 typeMeta
//	  2 raw: a ServiceList, PodList, ...
//	      1 metadata: ListMeta
//	      2 items: Service, Pod, ... repeated
//	  3 contentEncoding
//	  4 contentType
var protobufMagic = []byte("k8s\x00")

const (
	fieldRaw      = 2
	fieldMetadata = 1
	fieldItems    = 2
)

// maxItem bounds what is allocated on a server's word. An API server refuses
// objects over 3 MiB, etcd over 1.5 MiB.
const maxItem = 64 << 20

// decodeList reads a list whose items have the type that newObject makes, and
// converts each before it reads the next: no more than one raw object is alive
// at a time. Lists are in protobuf, which every API server speaks to who asks
// for it, but those of custom resources in JSON.
func decodeList(body io.Reader, newObject func() object, conv *converter) (*listing, error) {
	in := bufio.NewReaderSize(body, 64<<10)
	l := new(listing)
	add := func(raw object) {
		if v := conv.value(raw); v != nil {
			l.Items = append(l.Items, listed{v})
		}
	}
	var err error
	if magic, _ := in.Peek(len(protobufMagic)); bytes.Equal(magic, protobufMagic) {
		_, _ = in.Discard(len(protobufMagic))
		raw, ok := newObject().(protobufObject)
		if !ok {
			return nil, fmt.Errorf("decoding list: %T in protobuf", raw)
		}
		err = decodeProtobufList(in, &l.ListMeta, raw, add)
	} else {
		err = decodeJSONList(in, &l.ListMeta, newObject, add)
	}
	if err != nil {
		return nil, fmt.Errorf("decoding list: %w", err)
	}
	return l, nil
}

// decodeProtobufList uses raw for every item.
func decodeProtobufList(in *bufio.Reader, m *metav1.ListMeta, raw protobufObject, add func(object)) error {
	var scratch []byte
	whole := false
	err := eachField(in, func(field uint64, body *io.LimitedReader) error {
		if field != fieldRaw {
			return nil
		}
		whole = true
		return eachField(bufio.NewReaderSize(body, 64<<10), func(field uint64, body *io.LimitedReader) error {
			if field != fieldMetadata && field != fieldItems {
				return nil
			}
			if body.N > maxItem {
				return fmt.Errorf("item of %d bytes", body.N)
			}
			scratch = append(scratch[:0], make([]byte, body.N)...)
			if _, err := io.ReadFull(body, scratch); err != nil {
				return err
			}
			if field == fieldMetadata {
				return m.Unmarshal(scratch)
			}
			raw.Reset()
			if err := unmarshal(raw, scratch); err != nil {
				return err
			}
			add(raw)
			return nil
		})
	})
	if err == nil && !whole {
		return io.ErrUnexpectedEOF // no list is not an empty list
	}
	return err
}

// eachField calls fn with the number and content of every field of a protobuf
// message that is as long as in. Fields must be length-delimited, as those of
// lists are. What fn does not read of a field is skipped.
func eachField(in *bufio.Reader, fn func(field uint64, body *io.LimitedReader) error) error {
	const lengthDelimited = 2 // wire type
	for {
		tag, err := binary.ReadUvarint(in)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if tag&7 != lengthDelimited {
			return fmt.Errorf("field %d has wire type %d", tag>>3, tag&7)
		}
		n, err := binary.ReadUvarint(in)
		if err != nil {
			return noEOF(err)
		}
		if n > 1<<40 {
			return fmt.Errorf("field %d has %d bytes", tag>>3, n)
		}
		body := &io.LimitedReader{R: in, N: int64(n)}
		if err := fn(tag>>3, body); err != nil {
			return noEOF(err)
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return err
		}
		if body.N > 0 {
			return io.ErrUnexpectedEOF
		}
	}
}

// noEOF makes the end of the body within a message what it is: a body that was
// cut short.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func decodeJSONList(body io.Reader, m *metav1.ListMeta, newObject func() object, add func(object)) error {
	in := json.NewDecoder(body)
	var item json.RawMessage // used for every item
	whole := false
	err := eachMember(in, func(name string) error {
		switch name {
		case "metadata":
			return in.Decode(m)
		case "items":
			whole = true
			return eachElement(in, func() error {
				if err := in.Decode(&item); err != nil {
					return err
				}
				raw := newObject()
				if err := utiljson.Unmarshal(item, raw); err != nil {
					return err
				}
				add(raw)
				return nil
			})
		}
		return in.Decode(new(json.RawMessage))
	})
	if err == nil && !whole {
		return errors.New("no items") // no list is not an empty list
	}
	return noEOF(err)
}

// eachMember reads a JSON object and calls fn behind the name of each of its
// members, to read the value.
func eachMember(in *json.Decoder, fn func(name string) error) error {
	if err := expect(in, json.Delim('{')); err != nil {
		return err
	}
	for in.More() {
		name, err := in.Token()
		if err != nil {
			return err
		}
		if err := fn(name.(string)); err != nil {
			return err
		}
	}
	return expect(in, json.Delim('}'))
}

// eachElement reads a JSON array and calls fn for each of its elements, to read
// it. No array, null, is an empty one.
func eachElement(in *json.Decoder, fn func() error) error {
	switch open, err := in.Token(); {
	case err != nil:
		return err
	case open == nil:
		return nil
	case open != json.Delim('['):
		return fmt.Errorf("%v instead of an array", open)
	}
	for in.More() {
		if err := fn(); err != nil {
			return err
		}
	}
	return expect(in, json.Delim(']'))
}

func expect(in *json.Decoder, want json.Delim) error {
	got, err := in.Token()
	if err == nil && got != want {
		err = fmt.Errorf("%v instead of %v", got, want)
	}
	return err
}
