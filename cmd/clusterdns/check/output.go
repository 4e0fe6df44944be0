package check

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/clusterdns/clusterdns/plugin/kube"
)

// Rule is a rule of a ClusterRole.
type Rule struct {
	APIGroups []string `json:"apiGroups"`
	Resources []string `json:"resources"`
	Verbs     []string `json:"verbs"`
}

// rules returns the rights that the stanzas need together.
func (f *corefile) rules() (list []Rule) {
	var all []kube.Access
	for _, s := range f.stanzas {
		all = append(all, s.Access...)
	}
	for _, s := range f.gateways {
		all = append(all, s.Access...)
	}
	for _, a := range all {
		at := slices.IndexFunc(list, func(r Rule) bool { return r.APIGroups[0] == a.Group })
		if at < 0 {
			at = len(list)
			list = append(list, Rule{APIGroups: []string{a.Group}, Verbs: []string{"list", "watch"}})
		}
		if !slices.Contains(list[at].Resources, a.Resource) {
			list[at].Resources = append(list[at].Resources, a.Resource)
		}
	}
	slices.SortFunc(list, func(a, b Rule) int { return strings.Compare(a.APIGroups[0], b.APIGroups[0]) })
	return list
}

// writeText writes r for people.
func writeText(out io.Writer, r *Report) error {
	w := new(bytes.Buffer)
	for _, p := range r.Errors {
		fmt.Fprintf(w, "error: %s\n", p)
	}
	for _, p := range r.Warnings {
		fmt.Fprintf(w, "warning: %s\n", p)
	}
	if len(r.Errors) > 0 {
		fmt.Fprintf(w, "\n%s: the server would not start with it\n", r.Corefile)
	} else {
		if len(r.Warnings) > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s: the server would start with it\n", r.Corefile)
	}
	if len(r.Zones) > 0 {
		fmt.Fprintln(w)
		table(w, "ZONE\tLISTENER\tANSWERED BY\tFAST LANE", len(r.Zones), func(i int) []string {
			z := r.Zones[i]
			by := strings.Join(z.AnsweredBy, ", then ")
			if by == "" {
				by = "nobody: REFUSED"
			}
			return []string{z.Zone, strings.Join(z.Listeners, " "), by, z.Lane}
		})
	}
	for _, l := range r.Lanes {
		state := "open"
		if l.Workers > 0 {
			state = fmt.Sprintf("open, workers %d", l.Workers)
		}
		if !l.Open {
			state = "closed: " + l.Reason
		}
		fmt.Fprintf(w, "\nFAST LANE %s\n  %s\n", l.Listener, state)
		if l.Kernel != "" {
			fmt.Fprintf(w, "  in the kernel: what it can, at %s (docs/fastlane.md)\n", l.Kernel)
		}
		for _, chain := range l.Chain {
			fmt.Fprintf(w, "  left to the plugin chain: %s\n", chain)
		}
	}
	notes(w, "CHANGES IN-CLUSTER ANSWERS", r.Changes)
	notes(w, "DIFFERS FROM COREDNS (docs/differences.md)", r.Differences)
	notes(w, "DEPRECATED", r.Deprecated)
	if len(r.Rules) > 0 {
		fmt.Fprintf(w, "\nRIGHTS\n%s", roleOf(r.Rules))
	}
	_, err := out.Write(trailing.ReplaceAll(w.Bytes(), nil))
	return err
}

// trailing is the blanks of empty cells.
var trailing = regexp.MustCompile(`(?m) +$`)

// roleOf returns the rules as YAML of a ClusterRole.
func roleOf(rules []Rule) string {
	var b strings.Builder
	b.WriteString("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: clusterdns\nrules:\n")
	for _, r := range rules {
		group := r.APIGroups[0]
		if group == "" {
			group = `""`
		}
		fmt.Fprintf(&b, "- apiGroups: [%s]\n  resources: [%s]\n  verbs: [%s]\n", group, strings.Join(r.Resources, ", "), strings.Join(r.Verbs, ", "))
	}
	return b.String()
}

func notes(w *bytes.Buffer, heading string, list []Note) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", heading)
	table(w, "", len(list), func(i int) []string {
		what := list[i].What
		if list[i].Where != "" {
			what += " (" + list[i].Where + ")"
		}
		return []string{"  " + what, list[i].Text}
	})
}

// table writes n rows in aligned columns.
func table(w *bytes.Buffer, heading string, n int, row func(i int) []string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if heading != "" {
		fmt.Fprintln(t, heading)
	}
	for i := range n {
		fmt.Fprintln(t, strings.Join(row(i), "\t"))
	}
	_ = t.Flush() // to memory
}
