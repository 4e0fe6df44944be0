package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manualWidth is that of a line of help, as man has it on a terminal.
const manualWidth = 78

// manual prints the help of a command in the form of a manual page.
func manual(cmd *cobra.Command, _ []string) {
	out := cmd.OutOrStdout()
	section(out, "NAME", 7, cmd.CommandPath()+" - "+cmd.Short)
	synopsis := cmd.UseLine()
	if cmd.HasAvailableSubCommands() && !cmd.Runnable() {
		synopsis = cmd.CommandPath() + " COMMAND"
	}
	if !cmd.HasParent() {
		synopsis = "clusterdns [-conf FILE] [flags of CoreDNS]\n" + synopsis + " ..."
	}
	section(out, "SYNOPSIS", 7, strings.Split(synopsis, "\n")...)
	section(out, "DESCRIPTION", 7, strings.Split(cmd.Long, "\n")...)
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintln(out, "COMMANDS")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() || sub.Name() == "help" {
				fmt.Fprintf(out, "       %s\n", sub.Name())
				wrap(out, 14, sub.Short)
			}
		}
		fmt.Fprintln(out)
	}
	if flags := cmd.NonInheritedFlags(); flags.HasAvailableFlags() && cmd.HasParent() {
		fmt.Fprintln(out, "OPTIONS")
		flags.VisitAll(func(f *pflag.Flag) { option(out, f) })
		fmt.Fprintln(out)
	}
	if text := cmd.Annotations[exitStatus]; text != "" {
		section(out, "EXIT STATUS", 7, strings.Split(text, "\n")...)
	}
	if cmd.Example != "" {
		section(out, "EXAMPLES", 7, strings.Split(cmd.Example, "\n")...)
	}
}

// section prints paragraphs below a heading.
func section(out io.Writer, heading string, indent int, paragraphs ...string) {
	fmt.Fprintln(out, heading)
	for _, p := range paragraphs {
		wrap(out, indent, p)
	}
	fmt.Fprintln(out)
}

// option prints a flag with its meaning.
func option(out io.Writer, f *pflag.Flag) {
	if f.Hidden {
		return
	}
	value, usage := pflag.UnquoteUsage(f)
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if value != "" {
		name += " " + value
	}
	fmt.Fprintf(out, "       %s\n", name)
	switch f.DefValue {
	case "", "false", "0", "[]", "0s":
	default:
		usage += fmt.Sprintf(" (default %s)", f.DefValue)
	}
	wrap(out, 14, usage)
}

// wrap prints a paragraph. One that begins with white space is printed as it is.
func wrap(out io.Writer, indent int, text string) {
	margin := strings.Repeat(" ", indent)
	if strings.HasPrefix(text, " ") || strings.HasPrefix(text, "\t") {
		fmt.Fprintln(out, margin+strings.TrimRight(text, " \t"))
		return
	}
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && indent+len(line)+1+len(word) > manualWidth {
			fmt.Fprintln(out, margin+line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(out, strings.TrimRight(margin+line, " "))
}
