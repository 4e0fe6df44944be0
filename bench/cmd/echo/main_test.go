package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A question for port 1053, by its parts: Ethernet, IPv4, UDP and DNS.
const asked = "020000000002 020000000001 0800" +
	" 4500 0027 0000 4000 40 11 0000 c6120002 c6120001" +
	" 8000 041d 0013 abcd" +
	" 1234 01 00 0001 0000 0000 0000"

// The same as it comes back.
const echoed = "020000000001 020000000002 0800" +
	" 4500 0027 0000 4000 40 11 0000 c6120001 c6120002" +
	" 041d 8000 0013 0000" +
	" 1234 81 00 0001 0000 0000 0000"

func TestEcho(t *testing.T) {
	program, err := load(1053)
	if errors.Is(err, unix.EPERM) || errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("no permission to load a BPF program, or no kernel for it (run as root): %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	const redirect = 7 // TC_ACT_REDIRECT
	next := tcxNext
	for name, c := range map[string]struct {
		in, out string
		action  int
	}{
		"question":       {asked, echoed, redirect},
		"response":       {strings.Replace(asked, "1234 01", "1234 81", 1), "", next},
		"another port":   {strings.Replace(asked, "041d", "041e", 1), "", next},
		"TCP":            {strings.Replace(asked, "40 11", "40 06", 1), "", next},
		"fragment":       {strings.Replace(asked, "0000 4000", "0000 2000", 1), "", next},
		"later fragment": {strings.Replace(asked, "0000 4000", "0000 0001", 1), "", next},
		"IP options":     {strings.Replace(asked, "4500", "4600", 1), "", next},
		"IPv6":           {strings.Replace(asked, "0800", "86dd", 1), "", next},
		"short":          {asked[:strings.Index(asked, "01 00")], "", next},
	} {
		in := octets(t, c.in)
		want := in
		if c.out != "" {
			want = octets(t, c.out)
		}
		action, out, err := program.Test(in)
		if err != nil {
			t.Fatal(err)
		}
		if int32(action) != int32(c.action) || !bytes.Equal(out, want) {
			t.Errorf("%s: action %d with\n%x, want %d with\n%x", name, int32(action), out, c.action, want)
		}
	}
}

func octets(t *testing.T, text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
