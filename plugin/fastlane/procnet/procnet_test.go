package procnet

import (
	"fmt"
	"strings"
	"testing"
)

// TestSettled has tables read that lack a socket now and then, or have one twice.
func TestSettled(t *testing.T) {
	for _, row := range []struct{ readings, want string }{
		{"a b,a b,a b,a b", "a b"},
		{"b,a b,a,b,", "b a"},
		{"a,a,a b,b,a,b c,a,a,b,d", "a b c"}, // d comes after three that have nothing new
		{"a a,a,a,a", "a"},
		{",,,a", ""},
	} {
		readings := strings.Split(row.readings, ",")
		list, err := settled(func() (now []Socket, err error) {
			for _, inode := range strings.Fields(readings[0]) {
				now = append(now, Socket{Inode: inode})
			}
			readings = readings[1:]
			return now, nil
		})
		var got []string
		for _, s := range list {
			got = append(got, s.Inode)
		}
		if err != nil || strings.Join(got, " ") != row.want {
			t.Errorf("%s: %v, %v; want %s", row.readings, got, err, row.want)
		}
	}
	n := 0
	got, err := settled(func() ([]Socket, error) { n++; return []Socket{{Inode: fmt.Sprint(n)}}, nil })
	if err != nil || len(got) != mostReadings {
		t.Errorf("new ones each time: %v, %v", got, err)
	}
}
