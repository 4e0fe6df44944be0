// Package question has DNS questions with the answers that are expected, in
// memory and in files.
package question

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Question is a question and its answer. A file has one in each line, as JSON.
type Question struct {
	Name  string `json:"name"` // fully qualified
	Type  uint16 `json:"type"`
	Rcode int    `json:"rcode"`
	// Records are the data of all records of the type asked in the answer
	// section, as Rdata has them, sorted. Others, such as the CNAME before an
	// address, do not count.
	Records []string `json:"records,omitempty"`
	// Truncated is set if the reply may be truncated: with the TC flag and some of
	// the records.
	Truncated bool `json:"truncated,omitempty"`
}

// New returns a question that is answered with these records, in any order, and
// no others.
func New(name string, qtype uint16, rcode int, records ...string) Question {
	return Question{Name: name, Type: qtype, Rcode: rcode, Records: slices.Sorted(slices.Values(records))}
}

// String is the question with its answer, for people.
func (q Question) String() string {
	return q.Name + " " + dns.Type(q.Type).String() + " " + answer(q.Rcode, q.Records)
}

// answer is an answer for people.
func answer(rcode int, records []string) string {
	const few = 20
	text := dns.RcodeToString[rcode]
	if len(records) > 0 {
		text += " " + strings.Join(records[:min(len(records), few)], " | ")
	}
	if more := len(records) - few; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Rdata is the data of a record in presentation format. Names in it are in
// lower case: case does not distinguish them (RFC 4343 section 3).
func Rdata(rr dns.RR) string {
	return strings.ToLower(rr.String()[len(rr.Header().String()):])
}

// Check returns nil if reply is the answer that q expects, else an error that
// says what was expected and what came.
func (q Question) Check(reply *dns.Msg) error {
	var got []string
	for _, rr := range reply.Answer {
		if rr.Header().Rrtype == q.Type {
			got = append(got, Rdata(rr))
		}
	}
	slices.Sort(got)
	right := slices.Equal(got, q.Records)
	if reply.Truncated {
		right = q.Truncated && subset(got, q.Records)
	}
	if right && reply.Rcode == q.Rcode {
		return nil
	}
	came := answer(reply.Rcode, got)
	if reply.Truncated {
		came += " (truncated)"
	}
	return fmt.Errorf("expected %s, got %s", answer(q.Rcode, q.Records), came)
}

// subset tells whether all of the sorted few are in the sorted many, each as
// often as there.
func subset(few, many []string) bool {
	for _, s := range few {
		i, found := slices.BinarySearch(many, s)
		if !found {
			return false
		}
		many = many[i+1:]
	}
	return true
}

// Read reads a file that Write wrote.
func Read(file string) ([]Question, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading questions: %w", err)
	}
	defer f.Close()
	var qs []Question
	for d := json.NewDecoder(bufio.NewReader(f)); ; {
		var q Question
		err := d.Decode(&q)
		if errors.Is(err, io.EOF) {
			return qs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading questions of %s: question %d: %w", file, len(qs)+1, err)
		}
		qs = append(qs, q)
	}
}

// Write writes questions, one a line.
func Write(w io.Writer, qs []Question) error {
	e := json.NewEncoder(w)
	for _, q := range qs {
		if err := e.Encode(q); err != nil {
			return fmt.Errorf("writing questions: %w", err)
		}
	}
	return nil
}

// WriteDnsperf writes questions as a data file for dnsperf's option -d, which
// has no answers.
func WriteDnsperf(w io.Writer, qs []Question) error {
	for _, q := range qs {
		if _, err := fmt.Fprintf(w, "%s %s\n", q.Name, dns.Type(q.Type)); err != nil {
			return fmt.Errorf("writing questions: %w", err)
		}
	}
	return nil
}
