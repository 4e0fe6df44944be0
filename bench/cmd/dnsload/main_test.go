package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestRun(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: pc, NotifyStartedFunc: func() { close(started) },
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg)
			m.SetReply(q)
			m.Rcode = dns.RcodeNameError
			w.WriteMsg(m)
		})}
	go server.ActivateAndServe()
	<-started
	defer server.Shutdown()

	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	right := file("right", `{"name": "nope.shop.", "type": 1, "rcode": 3}`)
	wrong := file("wrong", `{"name": "nope.shop.", "type": 1, "records": ["10.0.0.1"]}`)
	broken := file("broken", `{"name": "nope.shop.", "type": "A"}`)
	const short = "-duration 500ms -warmup 10ms -server " // in which a busy machine answers some too
	address := pc.LocalAddr().String()

	for _, c := range []struct {
		args   string
		status int
		stdout string
		stderr string
	}{
		{short + address + " -questions " + right, 0, "NXDOMAIN", ""},
		{short + address + " -rate 1000 -questions " + right, 0, `"mode": "open"`, ""},
		{short + address + " -questions " + wrong, 1, `"first_wrong": "nope`,
			"the first: nope.shop. A: expected NOERROR 10.0.0.1, got NXDOMAIN"},
		{short + address + " -questions " + broken, 2, "", broken + ": question 1: "},
		{"-server localhost", 2, "", "-server:"},
		{"", 2, "", "-questions is needed"},
		{"-proto tls", 2, "", `-proto "tls"`},
		{"y", 2, "", `unexpected argument "y"`},
	} {
		var stdout, stderr strings.Builder
		status := run(context.Background(), strings.Fields(c.args), &stdout, &stderr)
		if status != c.status || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%s: status %d, want %d\nstdout %s\nstderr %s", c.args, status, c.status, stdout.String(), stderr.String())
		}
		if c.stderr == "" && stderr.Len() > 0 || c.stdout == "" && stdout.Len() > 0 {
			t.Errorf("%s: unexpected output\nstdout %s\nstderr %s", c.args, stdout.String(), stderr.String())
		}
	}
}

// The names in the JSON are what the runner of the comparison reads.
func TestJSON(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0") // which nobody serves
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	var stdout, stderr strings.Builder
	questions := filepath.Join(t.TempDir(), "questions")
	if err := os.WriteFile(questions, []byte(`{"name": "x.", "type": 1}`), 0o644); err != nil {
		t.Fatal(err)
	}
	args := "-duration 500ms -warmup 0 -timeout 10ms -sockets 1 -questions " + questions + " -server " + pc.LocalAddr().String()
	if status := run(context.Background(), strings.Fields(args), &stdout, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, stderr.String())
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(stdout.String()), &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(`proto mode rate duration_s sockets inflight sent answered lost wrong truncated
		qps rcodes latency_us first_wrong`) {
		if _, has := got[name]; !has {
			t.Errorf("no %s in %s", name, stdout.String())
		}
	}
	latency, _ := got["latency_us"].(map[string]any)
	for _, name := range strings.Fields("min mean p50 p90 p99 p999 max") {
		if _, has := latency[name]; !has {
			t.Errorf("no %s in latency_us of %s", name, stdout.String())
		}
	}
	if got["sent"] == 0.0 || got["sent"] != got["lost"] {
		t.Errorf("%v sent, %v lost", got["sent"], got["lost"])
	}
}
