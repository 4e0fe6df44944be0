// Command report makes a report, report.md and plots, of the results of a
// comparison:
//
//	report -in bench/results/results.json -out bench/results
//
// With -readme it also puts the headline table into a README, between the
// comments <!-- bench:begin --> and <!-- bench:end -->.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/clusterdns/clusterdns/bench/report"
	"github.com/clusterdns/clusterdns/bench/results"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	flags.SetOutput(stderr)
	in := flags.String("in", "bench/results/results.json", "`file` of results")
	out := flags.String("out", "bench/results", "`folder` for report.md and the plots")
	readme := flags.String("readme", "", "README `file` to put the headline table into")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	r, err := results.Read(*in)
	if err != nil {
		return err
	}
	plots, err := report.Plots(r, *out)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(report.Markdown(r))
	for i, plot := range plots {
		if i == 0 {
			b.WriteString("\n## Plots\n")
		}
		b.WriteString("\n" + image(plot, "") + "\n")
	}
	if err := os.WriteFile(filepath.Join(*out, "report.md"), []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if *readme == "" {
		return nil
	}
	return replace(*readme, *out, plots, r)
}

// image is the Markdown for a plot in a folder.
func image(plot, folder string) string {
	return fmt.Sprintf("![%s](%s)", strings.ReplaceAll(plot, "-", " "), filepath.ToSlash(filepath.Join(folder, plot+".svg")))
}

// replace puts the headline table, and the first plot, into the README.
func replace(readme, out string, plots []string, r *results.Results) error {
	old, err := os.ReadFile(readme)
	if err != nil {
		return fmt.Errorf("reading the README: %w", err)
	}
	folder, err := filepath.Rel(filepath.Dir(readme), out)
	if err != nil {
		return fmt.Errorf("linking from the README to the plots: %w", err)
	}
	block := fmt.Sprintf("\n%s[All figures](%s), with spread and goals.\n\n", report.Headline(r), filepath.ToSlash(filepath.Join(folder, "report.md")))
	if len(plots) > 0 {
		block += image(plots[0], folder) + "\n\n"
	}
	updated, err := report.Replace(string(old), block)
	if err != nil {
		return fmt.Errorf("README %s: %w", readme, err)
	}
	if err := os.WriteFile(readme, []byte(updated), 0o644); err != nil {
		return fmt.Errorf("writing the README: %w", err)
	}
	return nil
}
