package clusterdns

import (
	"fmt"
	"strings"

	"github.com/go-logr/logr"
)

// clientLog writes what client-go logs to CoreDNS's log. It is a logr.LogSink.
type clientLog struct{ values []any }

func (clientLog) Init(logr.RuntimeInfo)          {}
func (clientLog) Enabled(int) bool               { return true } // klog has judged the level
func (l clientLog) WithName(string) logr.LogSink { return l }
func (l clientLog) WithValues(kv ...any) logr.LogSink {
	return clientLog{append(l.values[:len(l.values):len(l.values)], kv...)}
}
func (l clientLog) Info(_ int, msg string, kv ...any) { log.Info(l.line(msg, kv)) }
func (l clientLog) Error(err error, msg string, kv ...any) {
	if err != nil {
		kv = append(kv[:len(kv):len(kv)], "err", err)
	}
	log.Error(l.line(msg, kv))
}

func (l clientLog) line(msg string, kv []any) string {
	var b strings.Builder
	b.WriteString(msg)
	for _, pairs := range [][]any{l.values, kv} {
		for i := 0; i+1 < len(pairs); i += 2 {
			fmt.Fprintf(&b, " %v=%q", pairs[i], fmt.Sprint(pairs[i+1]))
		}
	}
	return b.String()
}
