package explain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/clusterdns/clusterdns/cmd/clusterdns/check"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/miekg/dns"
)

// Report is one look-up. Its JSON is the output of -o json.
type Report struct {
	Name   string   `json:"name"`
	From   string   `json:"from"` // namespace, or namespace and pod
	Libc   string   `json:"libc"`
	Search []string `json:"search"`
	Ndots  int      `json:"ndots"`
	Notes  []string `json:"notes,omitempty"`
	Source string   `json:"source"`
	// Contact is when what answers are made from was last heard of, if that is
	// known.
	Contact   *time.Time `json:"contact,omitempty"`
	Questions []Question `json:"questions"`
	Result    string     `json:"result"` // found, not found or failed
}

// Question is a question that the pod asks, and its answer.
type Question struct {
	Step    int      `json:"step"` // questions of one step are asked at the same time
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Status  string   `json:"status"`          // a response code, or "" if there is no answer
	Records []string `json:"records"`         // in presentation format
	Why     []string `json:"why,omitempty"`   // Extended DNS Errors (RFC 8914): their texts
	Codes   []uint16 `json:"codes,omitempty"` // their info codes
	Objects []Object `json:"objects,omitempty"`
	Outside string   `json:"outside,omitempty"` // a name that others than the cluster would have to be asked for
	Error   string   `json:"error,omitempty"`   // why there is no answer
	// AnsweredBy is lane or chain, and Because what of the Corefile says so, if
	// one was given.
	AnsweredBy string `json:"answeredBy,omitempty"`
	Because    string `json:"because,omitempty"`

	data []string // of the records
}

// Object is one that an answer is made from.
type Object struct {
	Resource        string `json:"resource"`
	Namespace       string `json:"namespace,omitempty"`
	Name            string `json:"name"`
	ResourceVersion string `json:"resourceVersion,omitempty"` // objects in files have none that means something
}

// answeredBy says of each question whom a server with the Corefile leaves it to.
func (r *Report) answeredBy(corefile *check.Report) {
	for i := range r.Questions {
		q := &r.Questions[i]
		a := corefile.Answerer(q.Name, dns.StringToType[q.Type])
		q.AnsweredBy, q.Because = "chain", a.Why
		switch {
		case q.Status == dns.RcodeToString[dns.RcodeNameError] && len(a.Next) > 0:
			q.Because = "there is no such name, and " + strings.Join(a.Next, ", then ") + " is asked next"
		case a.Lane:
			q.AnsweredBy = "lane"
		}
	}
}

// because returns the lines that say who answers, each once.
func (r *Report) because() (lines []string) {
	for _, q := range r.Questions {
		if line := q.AnsweredBy + ": " + q.Because; q.AnsweredBy != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

const (
	resultFound    = "found"
	resultNotFound = "not found"
	resultFailed   = "failed"
)

func newQuestion(step int, name string, qtype uint16, a answer) Question {
	q := Question{Step: step, Name: name, Type: dns.TypeToString[qtype], Records: []string{}, Outside: a.outside}
	if a.err != nil {
		q.Error = a.err.Error()
		return q
	}
	if a.outside == "" || len(a.records) > 0 {
		q.Status = cmp.Or(dns.RcodeToString[a.rcode], strconv.Itoa(a.rcode))
	}
	for _, rr := range a.records {
		q.Records = append(q.Records, strings.ReplaceAll(rr.String(), "\t", " "))
		data := strings.TrimPrefix(rr.String(), rr.Header().String())
		if rr.Header().Rrtype != qtype {
			data = dns.TypeToString[rr.Header().Rrtype] + " " + data
		}
		q.data = append(q.data, printable(data))
	}
	for _, e := range a.errors {
		q.Codes = append(q.Codes, e.InfoCode)
		q.Why = append(q.Why, printable(cmp.Or(e.ExtraText, dns.ExtendedErrorCodeToString[e.InfoCode])))
	}
	for _, s := range a.objects {
		o := Object{Resource: s.Resource.String(), Namespace: s.Namespace, Name: s.Name}
		if s.Version > 0 {
			o.ResourceVersion = strconv.FormatUint(s.Version, 10)
		}
		q.Objects = append(q.Objects, o)
	}
	return q
}

// printable returns text, from the network or files, as it may be written to a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

// write writes the report in a format.
func (r *Report) write(out io.Writer, format string) error {
	if format == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	var text strings.Builder
	r.text(&text, colours(out))
	_, err := io.WriteString(out, text.String())
	return err
}

// most is how many records, or objects, of one answer are shown as text.
const most = 8

func (r *Report) text(out io.Writer, c palette) {
	fmt.Fprintf(out, "%s, looked up in %s by %s (ndots %d, search %s)\n", printable(r.Name), printable(r.From), r.Libc, r.Ndots, printable(cmp.Or(strings.Join(r.Search, " "), "none")))
	fmt.Fprintf(out, "asked: %s%s\n", printable(r.Source), r.age())
	for _, note := range r.Notes {
		fmt.Fprintf(out, "note: %s\n", printable(note))
	}
	fmt.Fprintln(out)
	// Colours go in afterwards: a tabwriter counts them as text.
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	heading := "STEP\tNAME\tTYPE\tANSWER\tFROM"
	if len(r.Questions) > 0 && r.Questions[0].AnsweredBy != "" {
		heading += "\tBY"
	}
	fmt.Fprintln(t, heading)
	for i, q := range r.Questions {
		step := ""
		if i == 0 || r.Questions[i-1].Step != q.Step {
			step = strconv.Itoa(q.Step)
		}
		rows := max(1, len(q.answers()), len(q.from()))
		for row := range rows {
			cells := make([]string, 6) // the last of a line would not count for its column
			if row == 0 {
				cells = []string{step, printable(q.Name), q.Type, "", "", q.AnsweredBy}
			}
			if row < len(q.answers()) {
				cells[3] = q.answers()[row]
			}
			if row < len(q.from()) {
				cells[4] = q.from()[row]
			}
			fmt.Fprintln(t, strings.Join(cells, "\t"))
		}
	}
	_ = t.Flush() // into memory
	for line := range strings.Lines(table.String()) {
		fmt.Fprintln(out, strings.TrimRight(line, " \n"))
	}
	said := map[string]bool{}
	for _, q := range r.Questions {
		for i, why := range q.Why {
			if key := q.Name + why; !said[key] {
				said[key] = true
				fmt.Fprintf(out, "\n%s\n  %s", printable(q.Name), c.warn(printable(why)))
				if q.Codes[i] != dns.ExtendedErrorCodeOther {
					fmt.Fprintf(out, " (%s)", dns.ExtendedErrorCodeToString[q.Codes[i]])
				}
				fmt.Fprintln(out)
			}
		}
	}
	for i, line := range r.because() {
		if i == 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintln(out, printable(line))
	}
	result := c.bad(r.Result)
	if r.Result == resultFound {
		result = c.good(r.Result)
	}
	fmt.Fprintf(out, "\n%s\n", result)
}

// age says how long ago the source was last heard of.
func (r *Report) age() string {
	if r.Contact == nil {
		return ""
	}
	if d := time.Since(*r.Contact).Round(time.Second); d > time.Second {
		return fmt.Sprintf(", last heard of %s ago", d)
	}
	return ", just now"
}

// answers are the lines that say what was answered.
func (q *Question) answers() (lines []string) {
	switch {
	case q.Error != "":
		return []string{"no answer: " + printable(q.Error)}
	case q.Status == "":
		return []string{"outside of the cluster: not asked"}
	case q.Status != "NOERROR":
		return []string{q.Status}
	case len(q.data) == 0:
		return []string{"no records"}
	}
	lines = shortened(q.data)
	if q.Outside != "" {
		lines = append(lines, "(outside of the cluster: not asked)")
	}
	return lines
}

// from are the lines that say what an answer was made from.
func (q *Question) from() (lines []string) {
	for _, o := range q.Objects {
		name := o.Name
		if o.Namespace != "" {
			name = o.Namespace + "/" + name
		}
		if o.ResourceVersion != "" {
			name += ", version " + o.ResourceVersion
		}
		lines = append(lines, kinds[o.Resource]+" "+printable(name))
	}
	return shortened(lines)
}

var kinds = map[string]string{
	zone.Namespaces.String(): "Namespace", zone.Services.String(): "Service", zone.EndpointSlices.String(): "EndpointSlice",
	zone.Pods.String(): "Pod", zone.ServiceImports.String(): "ServiceImport",
}

func shortened(lines []string) []string {
	if len(lines) <= most {
		return lines
	}
	return append(lines[:most:most], fmt.Sprintf("and %d more", len(lines)-most))
}

// palette colours text, or not.
type palette bool

// colours returns the palette for out: a terminal has colours, unless NO_COLOR is
// set (no-color.org).
func colours(out io.Writer) palette {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return palette(err == nil && info.Mode()&os.ModeCharDevice != 0)
}

func (p palette) paint(code, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p palette) good(text string) string { return p.paint("32", text) }
func (p palette) bad(text string) string  { return p.paint("31", text) }
func (p palette) warn(text string) string { return p.paint("33", text) }
