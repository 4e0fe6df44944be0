package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/clusterdns/clusterdns/cmd/clusterdns/check"
	"github.com/clusterdns/clusterdns/cmd/clusterdns/explain"
	"github.com/clusterdns/clusterdns/cmd/clusterdns/top"

	"github.com/spf13/cobra"
)

// commands returns the subcommands. A command says what it is for by Short, Long
// and Example, and by the annotation exitStatus. It answers in the exit status
// by an error with the method ExitCode() int; one without text is not printed.
func commands() []*cobra.Command {
	return []*cobra.Command{
		check.New(registerLeftOut),
		explain.New(registerLeftOut),
		top.New(explained),
	}
}

// explained returns what the subcommand explain prints.
func explained(ctx context.Context, args []string) string {
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetArgs(append([]string{"explain"}, args...))
	if err := root.ExecuteContext(ctx); err != nil && err.Error() != "" {
		fmt.Fprintln(&out, err)
	}
	return out.String()
}

// exitStatus is the annotation with what a command's exit statuses mean, a line
// for each.
const exitStatus = "exit status"

// Exit statuses of errors that do not say one.
const (
	exitFailed = 1
	exitUsage  = 2
)

// runCommand runs the subcommand that args begin with, and returns its exit
// status. If args begin with none, they are CoreDNS's command line, and ok is
// false.
func runCommand(args []string) (status int, ok bool) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return 0, false
	}
	root := newRoot()
	if !isCommand(root, args[0]) {
		return 0, false
	}
	root.SetArgs(coreDNSFlags(args))
	cmd, err := root.ExecuteC()
	if err == nil {
		return 0, true
	}
	if text := err.Error(); text != "" {
		fmt.Fprintf(os.Stderr, "%s: %s\n", cmd.CommandPath(), text)
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode(), true
	}
	return exitFailed, true
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "clusterdns",
		Short: "a DNS server for Kubernetes clusters",
		Long: "Without a command, or with flags in its place, clusterdns serves the Corefile, as CoreDNS does: " +
			"clusterdns -conf FILE. clusterdns -h lists the flags of the server.",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetHelpFunc(manual)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	for _, cmd := range commands() {
		if args := cmd.Args; args != nil {
			cmd.Args = func(cmd *cobra.Command, list []string) error {
				if err := args(cmd, list); err != nil {
					return usageError{err}
				}
				return nil
			}
		}
		cmd.DisableFlagsInUseLine = true // SYNOPSIS is what Use says
		root.AddCommand(cmd)
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Short = "print the manual page of a command"
			help := cmd.Run
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				if len(args) > 0 && !isCommand(root, args[0]) {
					return usageError{fmt.Errorf("%q is no command", args[0])}
				}
				help(cmd, args)
				return nil
			}
		case "completion":
			cmd.Short = "print the script that completes command lines in a shell"
			cmd.Args = nil
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				if len(args) > 0 {
					return usageError{fmt.Errorf("%q is no shell: bash, fish, powershell or zsh", args[0])}
				}
				return cmd.Help()
			}
		}
	}
	return root
}

// isCommand reports whether word is a subcommand, or what a shell's completion
// calls.
func isCommand(root *cobra.Command, word string) bool {
	return word == cobra.ShellCompRequestCmd || word == cobra.ShellCompNoDescRequestCmd ||
		slices.ContainsFunc(root.Commands(), func(cmd *cobra.Command) bool { return cmd.Name() == word })
}

// coreDNSFlags lets the flag -conf be written with one dash, as for the server.
func coreDNSFlags(args []string) []string {
	args = slices.Clone(args)
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if arg == "-conf" || strings.HasPrefix(arg, "-conf=") {
			args[i] = "-" + arg
		}
	}
	return args
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (usageError) ExitCode() int { return exitUsage }
