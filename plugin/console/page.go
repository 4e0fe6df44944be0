package console

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"age": age, "rate": rate, "state": Feed.State, "number": number,
}).ParseFS(static, "static/*.html"))

// shownRows is how many rows of each kind the overview has.
const shownRows = 25

// overview is what its template is given.
type overview struct {
	*Report
	Charts []chart
	Lists  []list
	Views  []View
}

// list is one table of what was asked most.
type list struct {
	ID, Title, What string
	Rows            []row
}

type row struct {
	Key              string
	Namespace        string
	AtLeast, AtMost  uint64
	PerSecond, Share float64 // of AtLeast
}

func (c *Console) overview(url.Values) (int, string, any) {
	r := c.Report()
	o := overview{Report: r, Charts: charts(r), Views: c.source.Views()}
	names := func(of []Name) (rows []row) {
		for _, n := range of {
			rows = append(rows, row{Key: n.Name, Namespace: n.Namespace, AtLeast: n.AtLeast(), AtMost: n.Count})
		}
		return rows
	}
	var clients []row
	for _, c := range r.Clients {
		clients = append(clients, row{Key: c.Addr.String(), AtLeast: c.AtLeast(), AtMost: c.Count})
	}
	o.Lists = []list{
		{"names", "Names", "Name", names(r.Names)},
		{"nxdomain", "Names that do not exist", "Name", names(r.NXDomain)},
		{"clients", "Clients", "Address", clients},
	}
	for i := range o.Lists {
		l := &o.Lists[i]
		l.Rows = l.Rows[:min(len(l.Rows), shownRows)]
		for j := range l.Rows {
			if r.Window > 0 {
				l.Rows[j].PerSecond = float64(l.Rows[j].AtLeast) / r.Window
			}
		}
	}
	return http.StatusOK, "overview.html", o
}

// pageRows is how many services a page has.
const pageRows = 200

// namespacePage is what its template is given.
type namespacePage struct {
	Views     []View
	View      int // of Views
	Namespace string
	Asked     bool // for a namespace
	Known     bool
	Names     []string // of namespaces, if none was asked for
	More      int      // of them, that are left out
	Services  []service
	Total     int
	From      int    // the first one's place
	Next      string // the name behind which the next page begins
}

// service is a row of its table.
type service struct {
	zone.Listed
	Type    string
	Targets []string
	Ports   []string
}

func (c *Console) namespace(q url.Values) (int, string, any) {
	p := namespacePage{Views: c.source.Views(), Namespace: q.Get("name")}
	p.View = chosen(p.Views, q.Get("stanza"))
	if len(p.Views) == 0 {
		return http.StatusOK, "namespace.html", p
	}
	view := p.Views[p.View]
	status := http.StatusOK
	if p.Asked = p.Namespace != ""; !p.Asked {
		p.Names = slices.DeleteFunc(view.Namespaces(), func(name string) bool { return name <= q.Get("after") })
		if p.More = max(0, len(p.Names)-pageRows); p.More > 0 {
			p.Names = p.Names[:pageRows]
			p.Next = p.Names[pageRows-1]
		}
	} else {
		var all []zone.Listed
		all, p.Known = view.Services(p.Namespace)
		p.Total = len(all)
		if !p.Known {
			status = http.StatusNotFound
		}
		after := q.Get("after")
		p.From = slices.IndexFunc(all, func(s zone.Listed) bool { return s.Name > after })
		if p.From < 0 {
			p.From = len(all)
		}
		all = all[p.From:]
		if len(all) > pageRows {
			all = all[:pageRows]
			p.Next = all[len(all)-1].Name
		}
		for _, s := range all {
			p.Services = append(p.Services, serviceOf(s))
		}
	}
	return status, "namespace.html", p
}

// shownPorts is how many ports of a service its row has.
const shownPorts = 8

func serviceOf(l zone.Listed) service {
	s := service{Listed: l}
	switch l.Kind {
	case zone.ClusterIP:
		s.Type = "ClusterIP"
		for _, addr := range l.ClusterIPs {
			s.Targets = append(s.Targets, addr.String())
		}
	case zone.Headless:
		s.Type = "headless"
	case zone.ExternalName:
		s.Type = "ExternalName"
		s.Targets = []string{l.ExternalName}
	}
	if l.Imported {
		s.Type += ", imported"
	}
	for _, p := range l.Ports[:min(len(l.Ports), shownPorts)] {
		text := fmt.Sprintf("%d/%s", p.Number, p.Protocol)
		if p.Name != "" {
			text = p.Name + " " + text
		}
		s.Ports = append(s.Ports, text)
	}
	if more := len(l.Ports) - shownPorts; more > 0 {
		s.Ports = append(s.Ports, fmt.Sprintf("and %d more", more))
	}
	return s
}

// page answers with what of makes of a request's query: a status, a template and
// its data. A page is made whole before it is sent, so that none is sent in half,
// and one at a time, so that whoever reaches the console has one CPU's time at
// most; for one who reads slowly nobody waits.
func (c *Console) page(of func(url.Values) (status int, template string, data any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status, b, err := c.made(of, r.URL.Query())
		c.write(w, status, b, err)
	}
}

func (c *Console) made(of func(url.Values) (int, string, any), q url.Values) (status int, b bytes.Buffer, err error) {
	c.making.Lock()
	defer c.making.Unlock()
	status, name, data := of(q)
	err = pages.ExecuteTemplate(&b, name, data)
	return status, b, err
}

func (c *Console) write(w http.ResponseWriter, status int, b bytes.Buffer, err error) {
	if err != nil {
		c.log(fmt.Errorf("console: %w", err))
		http.Error(w, "The page cannot be made; the log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// age returns how long ago a time was.
func age(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	switch d := max(0, now.Sub(t)); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}

// rate returns a number of questions a second in three digits or less.
func rate(x float64) string {
	switch {
	case x >= 100:
		return number(uint64(x + 0.5))
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// number returns n with its thousands set apart.
func number(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
