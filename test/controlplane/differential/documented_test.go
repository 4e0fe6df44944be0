package differential

import (
	"os"
	"strings"
	"testing"
)

// TestRulesDocumented makes sure that every rule is a row of
// docs/differences.md, and every row a rule.
func TestRulesDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(text), "Held by tests of their own")
	rows := map[string]bool{}
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			rows[strings.TrimSpace(cells[1])] = true
		}
	}
	delete(rows, "rule")
	delete(rows, "---")
	for _, r := range rules {
		if !rows[r.name] {
			t.Errorf("rule %s has no row", r.name)
		}
		delete(rows, r.name)
	}
	for name := range rows {
		t.Errorf("row %s has no rule", name)
	}
}
