package clusterdns

import (
	"bytes"
	"errors"
	stdlog "log"
	"strings"
	"testing"
)

func TestClientLog(t *testing.T) {
	named := clientLog{}.WithName("reflector").WithValues("type", "services", "odd").(clientLog)
	for _, row := range []struct {
		log  clientLog
		msg  string
		kv   []any
		want string
	}{
		{clientLog{}, "Watch closed", nil, `Watch closed`},
		{clientLog{}, "Watch closed", []any{"after", 5, "err", errors.New("EOF: \"x\"")}, `Watch closed after="5" err="EOF: \"x\""`},
		{named, "Watch closed", []any{"n", nil}, `Watch closed type="services" n="<nil>"`},
		{clientLog{}, "a key without a value", []any{"key"}, `a key without a value`},
	} {
		if got := row.log.line(row.msg, row.kv); got != row.want {
			t.Errorf("got  %s\nwant %s", got, row.want)
		}
	}
	// Two loggers made from one do not share what each was given.
	base := clientLog{}.WithValues("a", 1).(clientLog)
	one, two := base.WithValues("b", 2).(clientLog), base.WithValues("c", 3).(clientLog)
	if got, want := one.line("m", nil)+two.line("m", nil), `m a="1" b="2"m a="1" c="3"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Some of client-go's errors are a message and nothing else.
func TestClientLogError(t *testing.T) {
	var b bytes.Buffer
	defer stdlog.SetOutput(stdlog.Writer())
	stdlog.SetOutput(&b)
	for _, row := range []struct {
		err  error
		want string
	}{{nil, `Bad object name="x"`}, {errors.New("EOF"), `Bad object name="x" err="EOF"`}} {
		b.Reset()
		clientLog{}.Error(row.err, "Bad object", "name", "x")
		if got := b.String(); !strings.HasSuffix(got, row.want+"\n") {
			t.Errorf("%v: got %s, want %s", row.err, got, row.want)
		}
	}
}
