package main

import (
	"os"
	"strings"
	"testing"
)

// TestCommandFirst: a subcommand is one as the first argument only; all else is
// CoreDNS's command line.
func TestCommandFirst(t *testing.T) {
	for _, row := range []struct {
		args string
		ok   bool
		want string
	}{
		{"check", true, "the server would start with it"},
		{"check -conf Corefile", true, "the server would start with it"},
		{"check -conf=Corefile", true, "the server would start with it"},
		{"check --conf gone", false, "clusterdns check: open gone: no such file or directory"},
		{"check -o yaml", false, `clusterdns check: "yaml" is no format of output: text or json`},
		{"check Corefile", false, `clusterdns check: "Corefile" is not expected: -conf names the Corefile`},
		{"check --nonsense", false, "clusterdns check: unknown flag: --nonsense"},
		{"help", true, "NAME\n       clusterdns - a DNS server for Kubernetes clusters\n"},
		{"help check", true, "NAME\n       clusterdns check - "},
		{"check --help", true, "NAME\n       clusterdns check - "},
		{"help nonsense", false, `clusterdns help: "nonsense" is no command`},
		{"help completion bash", true, "bash"},
		{"completion", true, "NAME\n       clusterdns completion - "},
		{"completion ksh", false, `clusterdns completion: "ksh" is no shell: bash, fish, powershell or zsh`},
		{"completion bash", true, "bash completion"},
		{"__complete check --ou", true, "--output"},
		{"__complete check -o j", true, "json"},
		// CoreDNS's own.
		{"-conf gone", false, "open gone: no such file or directory"},
		{"-conf check -plugins", true, "\nclusterdns\n"},
		{"-version", true, "CoreDNS-"},
		{"-quiet check", false, "extra command line arguments: [check]"},
		{"nonsense", false, "extra command line arguments: [nonsense]"},
	} {
		out, ok := run(t, "example.org {\n    whoami\n}\n", strings.Fields(row.args)...)
		if ok != row.ok || !strings.Contains(out, row.want) {
			t.Errorf("clusterdns %s: success %v, %q; want %v, %q", row.args, ok, out, row.ok, row.want)
		}
	}
}

// TestManuals: every command has what its manual page is made of, and no line of
// that is too long for a terminal.
func TestManuals(t *testing.T) {
	root := newRoot()
	for _, cmd := range root.Commands() {
		if cmd.Short == "" || cmd.Long == "" {
			t.Errorf("%s: no description", cmd.Name())
		}
		if cmd.Name() == "help" || cmd.Name() == "completion" {
			continue // cobra's
		}
		if cmd.Annotations[exitStatus] == "" || cmd.Example == "" {
			t.Errorf("%s: no exit status, or no example", cmd.Name())
		}
		out, ok := run(t, "", "help", cmd.Name())
		if !ok {
			t.Errorf("help %s: %s", cmd.Name(), out)
		}
		for _, heading := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES"} {
			if !strings.Contains("\n"+out, "\n"+heading+"\n       ") {
				t.Errorf("help %s has no %s:\n%s", cmd.Name(), heading, out)
			}
		}
		for line := range strings.Lines(out) {
			if len(strings.TrimSpace(line)) > manualWidth && !strings.HasPrefix(line, "         ") {
				t.Errorf("help %s: too long: %s", cmd.Name(), line)
			}
		}
	}
}

// TestCommandsPage: docs/commands.md has the help of every command, as it is.
func TestCommandsPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range newRoot().Commands() {
		if cmd.Name() == "help" || cmd.Name() == "completion" {
			continue
		}
		out, _ := run(t, "", "help", cmd.Name())
		if !strings.Contains(string(page), "```\n"+strings.TrimSpace(out)+"\n```\n") {
			t.Errorf("docs/commands.md has not the help of %s:\n%s", cmd.Name(), out)
		}
	}
}
