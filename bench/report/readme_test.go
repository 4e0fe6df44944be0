package report

import (
	"strings"
	"testing"
)

func TestHeadline(t *testing.T) {
	const want = `|  | clusterdns | clusterdns, fast lane off | CoreDNS | NSD | Knot | ÷ CoreDNS | ÷ best of NSD, Knot |
| --- | --: | --: | --: | --: | --: | --: | --: |
| CPU per query, ClusterIP A, 4,000 q/s, two cores (µs) | **12.0** |  | 62.0 | 9.00 |  | 0.19 × | 1.33 × |
| CPU per query, ClusterIP A, at saturation (µs) | **5.00** | 16.0 | 20.0 | 6.00 |  | 0.25 × | no difference |
| Maximum rate on one core, ClusterIP A (q/s) | **≥ 200,000** |  | 50,000 | 160,000 | ≥ 250,000 | ≥ 4.00 × ? |  |
| Peak memory, cold start (MB) | **30.0** |  | 80.0 |  |  | 0.38 × |  |
| Peak memory, Corefile reload (MB) | **42.0** |  |  |  |  |  |  |
| Binary (MB) | **36.8** |  |  |  |  |  |  |

Medians with 1,000 services on EPYC. At saturation the server has one core and is asked as fast as it answers; ≥ says that whoever asked was the limit; ? that there were too few rounds to be sure.
`
	if got := Headline(testResults(t)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestHeadlineHasANameForEachRow(t *testing.T) {
	for _, s := range headline {
		if headlineNames[s.what] == "" || kindIndex(s.what) == len(kinds) {
			t.Errorf("no name for %s, or no such kind", s.what)
		}
	}
}

func TestReplace(t *testing.T) {
	got, err := Replace("a\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nb\n", "new\n")
	if want := "a\n<!-- bench:begin -->\nnew\n<!-- bench:end -->\nb\n"; err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	for _, readme := range []string{"", "<!-- bench:begin -->\n", "<!-- bench:end -->\n<!-- bench:begin -->\n"} {
		if _, err := Replace(readme, "new"); err == nil || !strings.Contains(err.Error(), "bench:begin") {
			t.Errorf("%q: error %v", readme, err)
		}
	}
}
