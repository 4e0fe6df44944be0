package report

import (
	"os"
	"testing"

	"github.com/clusterdns/clusterdns/bench/results"
)

func testResults(t *testing.T) *results.Results {
	t.Helper()
	r, err := results.Read("testdata/results.json")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The numbers in testdata/report.md were worked out by hand.
func TestMarkdown(t *testing.T) {
	want, err := os.ReadFile("testdata/report.md")
	if err != nil {
		t.Fatal(err)
	}
	if got := Markdown(testResults(t)); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMarkdownOfNothing(t *testing.T) {
	if got := Markdown(new(results.Results)); got == "" {
		t.Error("no report")
	}
}
