package check

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	clusterdns "github.com/clusterdns/clusterdns/plugin"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	clog "github.com/coredns/coredns/plugin/pkg/log"
)

// corefile is a Corefile that has been set up as the server would, up to the
// point where it opens sockets and starts what runs in the background.
type corefile struct {
	path    string
	blocks  []caddyfile.ServerBlock // as caddyfile.Parse returns them
	keys    [][]string              // theirs, as CoreDNS writes them
	servers []*dnsserver.Config     // theirs, of the first key
	stanzas map[int]clusterdns.Stanza
	// gateways are those of k8s_gateway.
	gateways []clusterdns.Stanza

	problems []Problem
	warnings []Problem
}

// Problem is something wrong, or dubious, in a Corefile.
type Problem struct {
	File      string `json:"file"`
	Line      int    `json:"line,omitempty"`      // 0 is not known
	Directive string `json:"directive,omitempty"` // whose
	Text      string `json:"text"`
}

// String returns p as compilers write such.
func (p Problem) String() string {
	text := p.File
	if p.Line > 0 {
		text += ":" + strconv.Itoa(p.Line)
	}
	if p.Directive != "" {
		text += ": " + p.Directive
	}
	return text + ": " + p.Text
}

// setUp parses text, and calls the setup function of each directive in the order
// in which the server does. Unlike the server it goes on after an error, so that
// all of them are told. What plugins log on the way become warnings.
func setUp(path string, text []byte) *corefile {
	f := &corefile{path: path, stanzas: map[int]clusterdns.Stanza{}}
	var logged bytes.Buffer
	clog.SetOutput(&logged)
	defer func() {
		clog.SetOutput(os.Stderr)
		for line := range strings.Lines(logged.String()) {
			f.logged(strings.TrimSpace(line))
		}
	}()
	log.SetFlags(0)

	f.unset(text)
	blocks, err := caddyfile.Parse(path, bytes.NewReader(text), caddy.ValidDirectives("dns"))
	if err != nil {
		f.problem("", "", err)
		return f
	}
	if len(blocks) == 0 {
		f.problem("", "", errors.New("no server block: the server would run the plugins whoami and log"))
		return f
	}
	for _, b := range blocks {
		b.Keys = slices.Clone(b.Keys) // InspectServerBlocks writes them its own way
		f.blocks = append(f.blocks, b)
	}
	// Exported for tests of plugins, it is the one way to a controller for
	// blocks that are parsed already.
	controller := caddy.NewTestController("dns", "")
	blocks, err = controller.Context().InspectServerBlocks(path, blocks)
	if err != nil {
		f.problem("", "", err)
		return f
	}
	for _, directive := range caddy.ValidDirectives("dns") {
		for i, b := range blocks {
			if tokens, ok := b.Tokens[directive]; ok {
				f.setUpDirective(of(controller, i, b), directive, tokens)
			}
		}
	}
	if len(f.problems) > 0 {
		return f
	}
	// No socket is opened before servers listen.
	if _, err := controller.Context().MakeServers(); err != nil {
		f.problem("", "", err)
		return f
	}
	for i, b := range blocks {
		server := dnsserver.GetConfig(of(controller, i, b))
		f.keys = append(f.keys, b.Keys)
		f.servers = append(f.servers, server)
		for _, word := range words {
			if h, ok := server.Handler(word).(*clusterdns.Handler); ok {
				f.stanzas[i] = h.Stanza()
			}
		}
		if h, ok := server.Handler("k8s_gateway").(*clusterdns.Handler); ok {
			f.gateways = append(f.gateways, h.Stanza())
		}
	}
	return f
}

// words are the names of our plugin.
var words = []string{"clusterdns", "kubernetes"}

// of returns the controller of block i's first key.
func of(controller *caddy.Controller, i int, b caddyfile.ServerBlock) *caddy.Controller {
	c := *controller
	c.ServerBlockIndex, c.ServerBlockKeyIndex, c.ServerBlockKeys, c.Key = i, 0, b.Keys, b.Keys[0]
	return &c
}

func (f *corefile) setUpDirective(c *caddy.Controller, directive string, tokens []caddyfile.Token) {
	setup, err := caddy.DirectiveAction("dns", directive)
	if err == nil {
		c.Dispenser = caddyfile.NewDispenserTokens(f.path, withoutKeylog(directive, tokens))
		err = setup(c)
	}
	if err != nil {
		f.problem(directive, fmt.Sprintf("%s:%d", cmp.Or(tokens[0].File, f.path), tokens[0].Line), err)
	}
}

// withoutKeylog returns the tokens of a directive without the option of tls whose
// file is made when it is set up. No other setup function writes anything.
func withoutKeylog(directive string, tokens []caddyfile.Token) (kept []caddyfile.Token) {
	if directive != "tls" {
		return tokens
	}
	for i := 0; i < len(tokens); i++ {
		if i > 0 && tokens[i].Text == "keylog" && !sameLine(tokens[i-1], tokens[i]) {
			for i+1 < len(tokens) && sameLine(tokens[i], tokens[i+1]) {
				i++
			}
			continue
		}
		kept = append(kept, tokens[i])
	}
	return kept
}

func sameLine(a, b caddyfile.Token) bool { return a.File == b.File && a.Line == b.Line }

// An error begins with the plugin's name, perhaps, and with file and line if it
// is of caddy's parser, or of our plugin's.
var (
	pluginName = regexp.MustCompile(`^plugin/([^:\s]+): `)
	position   = regexp.MustCompile(`^(?:(.*?):(\d+) - Error during parsing: |(\S+):(\d+): )`)
)

// problem notes err of a directive. It stands at where, if err does not say.
func (f *corefile) problem(directive, where string, err error) {
	f.problems = append(f.problems, f.place(directive, where, err.Error()))
}

func (f *corefile) place(directive, where, text string) Problem {
	p := Problem{File: f.path, Directive: directive}
	for m := pluginName.FindStringSubmatch(text); m != nil; m = pluginName.FindStringSubmatch(text) {
		if p.Directive == "" {
			p.Directive = m[1]
		}
		text = text[len(m[0]):]
	}
	if m := position.FindStringSubmatch(text); m != nil {
		p.File = m[1] + m[3]
		p.Line, _ = strconv.Atoi(m[2] + m[4])
		text = text[len(m[0]):]
	} else if at := strings.LastIndexByte(where, ':'); at > 0 {
		p.File = where[:at]
		p.Line, _ = strconv.Atoi(where[at+1:])
	}
	if hint := hintFor(directive, text); hint != "" {
		text += "; " + hint
	}
	p.Text = text
	return p
}

// logged notes a line that a plugin, or the parser, has logged.
func (f *corefile) logged(line string) {
	for _, level := range []string{"[WARNING] ", "[ERROR] "} {
		if text, ok := strings.CutPrefix(line, level); ok {
			f.warnings = append(f.warnings, f.place("", "", text))
		}
	}
}

var variable = regexp.MustCompile(`\{\$([^{}]+)\}|\{%([^{}]+)%\}`)

// unset warns of environment variables that are not set here, which the server
// takes for empty.
func (f *corefile) unset(text []byte) {
	line := 0
	for content := range bytes.Lines(text) {
		line++
		code, _, _ := bytes.Cut(content, []byte("#"))
		for _, m := range variable.FindAllSubmatch(code, -1) {
			name := string(m[1]) + string(m[2])
			if _, ok := os.LookupEnv(name); !ok {
				f.warnings = append(f.warnings, Problem{File: f.path, Line: line,
					Text: fmt.Sprintf("the environment variable %s is not set here, and is taken for empty", name)})
			}
		}
	}
}
