//go:build linux && (amd64 || arm64)

package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/cilium/ebpf"
)

// TestHash checks SipHash-2-4-128 against the vectors of its reference, and the program
// against it, for every length that two labels can have.
func TestHash(t *testing.T) {
	im := opened(t, cluster(), 4096)
	im.State(true, false, 0)
	check(t, im.Set(labels("n"), Name{}))
	for service := 1; service <= 63; service++ {
		for _, namespace := range []int{1, 2, 3, 4, 5, 6, 7, 8, 61, 62, 63} {
			ns := strings.Repeat("n", namespace)
			check(t, im.Set(labels(ns), Name{}))
			check(t, im.Set(labels(strings.Repeat("s", service)+"."+ns), Name{A: packed(fmt.Sprintf("10.0.%d.%d", service, namespace))}))
		}
	}
	im.State(true, true, 1)
	for service := 1; service <= 63; service++ {
		for _, namespace := range []int{1, 2, 3, 4, 5, 6, 7, 8, 61, 62, 63} {
			name := strings.Repeat("S", service) + "." + strings.Repeat("N", namespace)
			got := said(t, answer(t, im, over4(query(t, name+".svc.cluster.local. A"))))
			if !strings.HasSuffix(got, fmt.Sprintf("A 10.0.%d.%d", service, namespace)) {
				t.Errorf("%d, %d octets: %s", service, namespace, got)
			}
		}
	}
	im.key = testKey // that of the published vectors
	for i, want := range []string{"a3817f04ba25a8e66df67214c7550293", "da87c1d86b99af44347659119b22fc45"} {
		h := im.hash([]byte{0, 1, 2, 3}[:i])
		b := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, h[0]), h[1])
		if got := fmt.Sprintf("%x", b); got != want {
			t.Errorf("%d octets: %s, want %s", i, got, want)
		}
	}
}

// TestChecksums checks that an entry that is not whole goes up, whichever of its bits.
func TestChecksums(t *testing.T) {
	w := shop()
	im := w.image(t)
	flip := func(m *ebpf.Map, key any, entry []byte, q string) {
		t.Helper()
		check(t, m.Lookup(key, &entry))
		msg := query(t, q, edns(1232, false))
		if answer(t, im, over4(msg)) == nil {
			t.Fatalf("%s goes up", q)
		}
		for i := range len(entry) * 8 {
			entry[i/8] ^= 1 << (i % 8)
			check(t, m.Put(key, entry))
			if got := answer(t, im, over4(msg)); got != nil && !bytes.Equal(got, w.reply(msg)) {
				t.Errorf("%s: with octet %d of %x: %s", q, i/8, entry, said(t, got))
			}
			entry[i/8] ^= 1 << (i % 8)
		}
		check(t, m.Put(key, entry))
		if passed(im)["changing"] == 0 {
			t.Error("no entry is not whole")
		}
	}
	h := im.hash(labels("web.shop"))
	flip(im.names, h, make([]byte, 24), "web.shop.svc.cluster.local. A")
	flip(im.names, h, make([]byte, 24), "web.shop.svc.cluster.local. AAAA")
	h = im.hash(labels("head.shop"))
	flip(im.sets, h.ofSet(false), make([]byte, maxSet+8), "head.shop.svc.cluster.local. A")
	h = im.hash(labels("full.shop"))
	flip(im.sets, h.ofSet(true), make([]byte, maxSet+8), "full.shop.svc.cluster.local. AAAA")
	flip(im.ptrs, netip.MustParseAddr("10.96.0.1").As16(), make([]byte, MaxPTR+4), "1.0.96.10.in-addr.arpa. PTR")

	// An entry of another name, whole.
	var e nameEntry
	check(t, im.names.Lookup(im.hash(labels("v4.shop")), &e))
	check(t, im.names.Put(im.hash(labels("web.shop")), e))
	if got := answer(t, im, over4(query(t, "web.shop.svc.cluster.local. A"))); got != nil {
		t.Errorf("another name's entry: %s", said(t, got))
	}
}

// FuzzAnswer compares the program with a model of it in Go.
func FuzzAnswer(f *testing.F) {
	w := shop()
	im := w.image(f)
	for _, msg := range shared(f) {
		f.Add(msg)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) > 1400 {
			return
		}
		compare(t, im, w, msg)
	})
}

// compare asks msg over both families.
func compare(t testing.TB, im *Image, w *world, msg []byte) (answered bool) {
	t.Helper()
	want := w.reply(msg)
	for _, p := range []packet{over4(msg), over6(msg)} {
		if got := answer(t, im, p); !bytes.Equal(got, want) {
			t.Fatalf("%x: %s\nwant %s", msg, said(t, got), said(t, want))
		}
	}
	return want != nil
}

// TestHostile compares the program with the model on messages that are cut, changed, and
// have names of every shape.
func TestHostile(t *testing.T) {
	w := shop()
	im := w.image(t)
	for _, msg := range shared(t) {
		for n := range len(msg) {
			compare(t, im, w, msg[:n])
		}
		for i := range msg {
			for _, c := range []byte{0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff, msg[i] ^ 1, msg[i] ^ 0x20} {
				changed := slices.Clone(msg)
				changed[i] = c
				compare(t, im, w, changed)
			}
		}
	}
	// Names of labels of one length each, and of random ones, before a zone and as they are.
	r := rand.New(rand.NewPCG(1, 2))
	answered := 0
	for n := range 3000 {
		var name []byte
		length := r.IntN(256)
		for len(name) < length {
			label := min(1+r.IntN(63), length-len(name))
			if n < 640 {
				label = n/10 + 1
			}
			name = append(name, byte(label))
			for range label {
				name = append(name, byte(r.IntN(256)))
			}
		}
		if n%2 == 0 {
			name = append(name, dnswire.AppendLower(nil, wire("svc.cluster.local."))...)
		} else {
			name = append(name, wire("cluster.local.")...)
		}
		msg := append([]byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"), name...)
		if len(msg) < 1000 && compare(t, im, w, append(msg, 0, 1, 0, 1)) {
			answered++
		}
	}
	if answered < 300 {
		t.Errorf("%d of 3000 names are answered", answered)
	}
}
