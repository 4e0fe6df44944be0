package kube

import (
	"bytes"
	"strings"

	"sigs.k8s.io/yaml"
)

// yamlItem is an item of a List, as a YAML document of its own.
type yamlItem struct {
	text []byte
	line int // where it begins in the document, from 0
	dash int // the offset of its dash
}

// splitYAMLList returns the items of document if it is a v1 List in the form in
// which kubectl writes it, with the word items and what begins an item at the
// beginning of lines:
//
//	apiVersion: v1
//	items:
//	- apiVersion: v1
//	  kind: Service
//	  ...
//	kind: List
//
// A parser of YAML needs forty times the space of what it parses, so that a List
// of many objects should not be parsed whole. It is false for anything else.
// Lines of a text in quotes over several lines could be taken for an item's
// beginning, but then neither piece is valid YAML. An alias of an anchor in another
// item is an error of its own: see isUnknownAnchor. The items alias document, in
// which their dashes become spaces.
func splitYAMLList(document []byte) (items []yamlItem, ok bool) {
	var header []byte // what is outside of the items
	indent := -1      // of items; -1: not known
	inItems, seen, number, begin := false, false, 0, 0
	end := func(at int) {
		if n := len(items); n > 0 && items[n-1].text == nil {
			items[n-1].text = document[begin:at]
		}
	}
	for at := 0; at < len(document); number++ {
		n := bytes.IndexByte(document[at:], '\n') + 1
		if n == 0 {
			n = len(document) - at
		}
		line := document[at : at+n]
		text := bytes.TrimLeft(line, " ")
		column := len(line) - len(text)
		blank := len(bytes.TrimRight(text, "\r\n")) == 0 || text[0] == '#'
		dash := text[0] == '-' && (len(text) == 1 || strings.IndexByte(" \r\n", text[1]) >= 0)
		switch {
		case inItems && dash && (column == indent || indent < 0):
			end(at)
			indent, begin = column, at
			items = append(items, yamlItem{line: number, dash: at + column})
		case inItems && (blank || column > indent && indent >= 0):
		case inItems && column == 0 && indent >= 0:
			end(at)
			inItems = false
			header = append(header, line...)
		case inItems:
			return nil, false // no list, or one that ends as none should
		case column == 0 && string(bytes.TrimRight(text, " \r\n")) == "items:":
			if seen {
				return nil, false
			}
			inItems, seen = true, true
		default:
			header = append(header, line...)
		}
		at += n
	}
	end(len(document))
	var list struct{ APIVersion, Kind string }
	if !seen || len(items) == 0 || yaml.Unmarshal(header, &list) != nil || list.APIVersion != "v1" || list.Kind != "List" {
		return nil, false
	}
	for _, item := range items {
		document[item.dash] = ' '
	}
	return items, true
}

// maxAliased bounds a List whose items refer to anchors in other items, and which
// is therefore parsed whole. No program writes such Lists.
const maxAliased = 4 << 20

// isUnknownAnchor reports whether a piece of YAML does not parse because its anchor
// is not in the piece.
func isUnknownAnchor(err error) bool {
	return err != nil && strings.Contains(err.Error(), "unknown anchor")
}

// rejoin undoes what splitYAMLList did to document.
func rejoin(document []byte, items []yamlItem) {
	for _, item := range items {
		document[item.dash] = '-'
	}
}
