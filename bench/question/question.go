// Package question reads and writes files of DNS questions with the answers
// that are expected. A line is
//
//	NAME TYPE [RCODE [RDATA...]]
//
// and a semicolon begins a comment:
//
//	web.shop.svc.cluster.local. A NOERROR 10.96.0.10
//	web.shop.svc.cluster.local. AAAA NOERROR              ; no such record
//	db.shop.svc.cluster.local. A NOERROR 10.1.0.1 10.1.0.2
//	big.shop.svc.cluster.local. A NOERROR *5000           ; so many records
//	any.shop.svc.cluster.local. A NOERROR *               ; any number
//	nope.shop.svc.cluster.local. A NXDOMAIN
//	_http._tcp.web.shop.svc.cluster.local. SRV NOERROR 0 50 80 a.shop.svc.cluster.local. | 0 50 80 b.shop.svc.cluster.local.
//	example.org. A                                        ; NOERROR or NXDOMAIN, whatever the records
//
// RDATA are the records of the type asked in the answer section, in any order;
// others, such as the CNAME before an address, do not count. Data of types
// whose data can hold a space are separated by "|".
package question

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// Question is a question and what is known about its answer.
type Question struct {
	// Name is the name as the file has it. Without a final dot it is what a
	// program looks up with a search list; asked as it is, it is taken as
	// fully qualified all the same.
	Name   string
	Type   uint16
	Expect *Expect // nil where NOERROR and NXDOMAIN are right, with any records
}

// Expect is an expected answer.
type Expect struct {
	Rcode   int
	Records []string // data of the records of the type asked, as Rdata has it, sorted; nil where only Count counts
	Count   int      // how many of them there are, or Any
}

// Any is the Count of an answer whose records may be any.
const Any = -1

// Exactly returns the expectation of these records, in any order, and no others.
func Exactly(rcode int, rdata ...string) *Expect {
	e := &Expect{Rcode: rcode, Records: slices.Clone(rdata), Count: len(rdata)}
	slices.Sort(e.Records)
	return e
}

// String is the question as it stands in a file.
func (q Question) String() string {
	s := q.Name + " " + dns.Type(q.Type).String()
	if q.Expect != nil {
		s += " " + q.Expect.text(q.Type)
	}
	return s
}

func (e *Expect) text(qtype uint16) string {
	rcode := dns.RcodeToString[e.Rcode]
	switch {
	case e.Count == Any:
		return rcode + " *"
	case e.Records == nil && e.Count > 0:
		return rcode + " *" + strconv.Itoa(e.Count)
	case len(e.Records) == 0:
		return rcode
	case spaceless(qtype):
		return rcode + " " + strings.Join(e.Records, " ")
	}
	return rcode + " " + strings.Join(e.Records, " | ")
}

// spaceless tells whether data of a type never holds a space.
func spaceless(qtype uint16) bool {
	switch qtype {
	case dns.TypeA, dns.TypeAAAA, dns.TypeCNAME, dns.TypeNS, dns.TypePTR:
		return true
	}
	return false
}

// Rdata is the data of a record in presentation format. Names in it are in
// lower case: case does not distinguish them (RFC 4343 section 3).
func Rdata(rr dns.RR) string {
	data := rr.String()[len(rr.Header().String()):]
	if rr.Header().Rrtype != dns.TypeTXT {
		data = strings.ToLower(data)
	}
	return data
}

// Check returns nil if reply is an answer that q expects, else an error that
// says what was expected and what came. A truncated reply is right if it holds
// nothing but expected records.
func (q Question) Check(reply *dns.Msg) error {
	e := q.Expect
	if e == nil {
		if reply.Rcode == dns.RcodeSuccess || reply.Rcode == dns.RcodeNameError {
			return nil
		}
		return fmt.Errorf("expected NOERROR or NXDOMAIN, got %s", dns.RcodeToString[reply.Rcode])
	}
	var got []string
	for _, rr := range reply.Answer {
		if rr.Header().Rrtype == q.Type {
			got = append(got, Rdata(rr))
		}
	}
	slices.Sort(got)
	right := reply.Rcode == e.Rcode
	switch {
	case e.Count == Any:
	case e.Records == nil && reply.Truncated:
		right = right && len(got) <= e.Count
	case e.Records == nil:
		right = right && len(got) == e.Count
	case reply.Truncated:
		right = right && subset(got, e.Records)
	default:
		right = right && slices.Equal(got, e.Records)
	}
	if right {
		return nil
	}
	came := Expect{Rcode: reply.Rcode, Records: got, Count: len(got)}
	what := came.text(q.Type)
	if reply.Truncated {
		what += " (truncated)"
	}
	return fmt.Errorf("expected %s, got %s", e.text(q.Type), what)
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

// Read reads a file of questions. Errors name file, line and value.
func Read(file string) ([]Question, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading questions: %w", err)
	}
	defer f.Close()
	return Parse(file, f)
}

// Parse reads questions from r, which errors call by the name given.
func Parse(name string, r io.Reader) ([]Question, error) {
	var qs []Question
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<24) // a service with 5,000 endpoints has a line of more than 64 KB
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), ";")
		if strings.TrimSpace(line) == "" {
			continue
		}
		q, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		qs = append(qs, q)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading questions of %s: %w", name, err)
	}
	return qs, nil
}

func parseLine(line string) (q Question, err error) {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return q, fmt.Errorf("want NAME TYPE [RCODE [RDATA...]], not %q", strings.TrimSpace(line))
	}
	q.Name = fields[0]
	// IsDomainName is lenient; what cannot be packed cannot be asked.
	if _, err := dns.PackDomainName(dns.Fqdn(q.Name), make([]byte, 256), 0, nil, false); err != nil {
		return q, fmt.Errorf("%q is not a domain name", q.Name)
	}
	var known bool
	if q.Type, known = dns.StringToType[strings.ToUpper(fields[1])]; !known {
		return q, fmt.Errorf("unknown type %q", fields[1])
	}
	if len(fields) == 2 {
		return q, nil
	}
	rcode, known := dns.StringToRcode[strings.ToUpper(fields[2])]
	if !known {
		return q, fmt.Errorf("unknown rcode %q", fields[2])
	}
	q.Expect, err = parseRecords(q.Type, rcode, fields[3:])
	return q, err
}

func parseRecords(qtype uint16, rcode int, fields []string) (*Expect, error) {
	if len(fields) == 1 && strings.HasPrefix(fields[0], "*") {
		if fields[0] == "*" {
			return &Expect{Rcode: rcode, Count: Any}, nil
		}
		n, err := strconv.ParseUint(fields[0][1:], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number of records", fields[0])
		}
		if n == 0 {
			return Exactly(rcode), nil
		}
		return &Expect{Rcode: rcode, Count: int(n)}, nil
	}
	texts := fields
	if !spaceless(qtype) && len(fields) > 0 {
		texts = strings.Split(strings.Join(fields, " "), "|")
	}
	data := make([]string, len(texts))
	for i, text := range texts {
		// A record from it and back is how it will look when it comes in an answer.
		rr, err := dns.NewRR(". 0 IN " + dns.Type(qtype).String() + " " + text)
		if err != nil || rr == nil {
			return nil, fmt.Errorf("%q is not data of type %s", strings.TrimSpace(text), dns.Type(qtype))
		}
		data[i] = Rdata(rr)
	}
	return Exactly(rcode, data...), nil
}

// Write writes questions, one a line.
func Write(w io.Writer, qs []Question) error {
	return writeLines(w, qs, func(q Question) (string, error) {
		if q.Expect != nil {
			for _, data := range q.Expect.Records {
				if strings.ContainsAny(data, ";|\n") {
					return "", fmt.Errorf("%s: a question file cannot hold the data %q", q.Name, data)
				}
			}
		}
		return q.String(), nil
	})
}

// WriteDnsperf writes questions as a data file for dnsperf's option -d, which
// has no expectations.
func WriteDnsperf(w io.Writer, qs []Question) error {
	return writeLines(w, qs, func(q Question) (string, error) {
		return dns.Fqdn(q.Name) + " " + dns.Type(q.Type).String(), nil
	})
}

func writeLines(w io.Writer, qs []Question, line func(Question) (string, error)) error {
	out := bufio.NewWriter(w)
	for _, q := range qs {
		s, err := line(q)
		if err != nil {
			return fmt.Errorf("writing questions: %w", err)
		}
		_, err = out.WriteString(s + "\n")
		if err != nil {
			return fmt.Errorf("writing questions: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing questions: %w", err)
	}
	return nil
}
