// Package check is the subcommand check: what a Corefile does, without serving
// it.
//
// A Corefile is parsed, and every directive set up, by the code that serves it.
// What the server does after that is left out: no socket is opened, no API
// server asked, and no file written. Who answers a zone is read from the
// Corefile's text, the fast lane is judged by package eligible, as the server has
// it judged.
package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	clusterdns "github.com/clusterdns/clusterdns/plugin"

	"github.com/spf13/cobra"
)

// Report is what there is to say about a Corefile. Its JSON is the output of
// -o json.
type Report struct {
	Corefile    string    `json:"corefile"`
	Errors      []Problem `json:"errors"`
	Warnings    []Problem `json:"warnings"`
	Zones       []Zone    `json:"zones"`
	Lanes       []Lane    `json:"lanes"`
	Changes     []Note    `json:"changes"`     // plugins that change in-cluster answers
	Differences []Note    `json:"differences"` // from stock CoreDNS
	Deprecated  []Note    `json:"deprecated"`
	Rules       []Rule    `json:"rules"` // that the stanzas' account needs

	stanzas []clusterdns.Stanza
}

// New returns the command. Register is called before the Corefile is read.
func New(register func()) *cobra.Command {
	var file, output string
	cmd := &cobra.Command{
		Use:   "check [-conf FILE] [-o text|json]",
		Short: "say what a Corefile does, and what is wrong with it",
		Long: "Reads a Corefile as the server would, with what it imports, and says: the zones and who answers them; " +
			"whether the fast lane is open, and if not, for which line; which plugins change in-cluster answers; " +
			"which rights at the API server it needs; how its answers differ from stock CoreDNS's; and words that do nothing any more.\n" +
			"It opens no socket, asks no API server and writes no file. Files that the Corefile names are read where the command runs, and host names behind forward are looked up.",
		Example: "  clusterdns check -conf Corefile\n" +
			"  kubectl -n kube-system get configmap coredns -o jsonpath='{.data.Corefile}' | clusterdns check -conf stdin",
		Annotations: map[string]string{"exit status": "0 if the server would start with the Corefile, 1 if it has errors, 2 for a mistake on the command line."},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return mistake{fmt.Errorf("%q is not expected: -conf names the Corefile", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			write, err := writer(output)
			if err != nil {
				return err
			}
			text, err := read(file, cmd.InOrStdin())
			if err != nil {
				return err
			}
			register()
			report := Corefile(file, text)
			if err := write(cmd.OutOrStdout(), report); err != nil {
				return err
			}
			if len(report.Errors) > 0 {
				return failed{}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "conf", "Corefile", "the Corefile, a `FILE`, or stdin")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "the `FORMAT` of the output: text or json")
	_ = cmd.MarkFlagFilename("conf")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// failed is that the Corefile has errors, which have been printed.
type failed struct{}

func (failed) Error() string { return "" }

// mistake is one on the command line.
type mistake struct{ error }

func (mistake) ExitCode() int { return 2 }

func read(file string, stdin io.Reader) ([]byte, error) {
	if file == "stdin" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
}

// writer returns what writes a report in a format.
func writer(format string) (func(io.Writer, *Report) error, error) {
	switch format {
	case "text":
		return writeText, nil
	case "json":
		return func(out io.Writer, r *Report) error {
			enc := json.NewEncoder(out)
			enc.SetIndent("", "  ")
			return enc.Encode(r)
		}, nil
	}
	return nil, mistake{fmt.Errorf("%q is no format of output: text or json", format)}
}

// Corefile returns the report on a Corefile with this text.
func Corefile(path string, text []byte) *Report {
	f := setUp(path, text)
	r := &Report{Corefile: path, Errors: []Problem{}, Warnings: []Problem{}, Zones: []Zone{}, Lanes: []Lane{},
		Changes: []Note{}, Differences: []Note{}, Deprecated: []Note{}, Rules: []Rule{}}
	r.Deprecated = append(r.Deprecated, f.deprecated()...)
	for i := range f.blocks {
		if s, ok := f.stanzas[i]; ok {
			r.stanzas = append(r.stanzas, s)
		}
	}
	if len(f.servers) > 0 { // otherwise too little is known
		f.missing()
		r.Lanes = append(r.Lanes, f.lanes()...)
		for i := range f.blocks {
			r.Zones = append(r.Zones, f.zones(i, r.Lanes)...)
		}
		r.Changes = append(r.Changes, f.changes(r.Lanes)...)
		r.Differences = append(r.Differences, f.differs()...)
		r.Rules = append(r.Rules, f.rules()...)
	}
	slices.SortStableFunc(f.problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line)
	})
	r.Errors = append(r.Errors, f.problems...)
	r.Warnings = append(r.Warnings, f.warnings...)
	return r
}
