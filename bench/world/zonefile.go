package world

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Zones are what static servers serve, in the order of WriteZones' files.
var Zones = []string{Zone, Reverse}

// WriteZones writes a zone file for each of Zones into a folder and returns
// their paths. They have the names that a Kubernetes DNS has, but for those of
// pods, which are computed, and the addresses of port names.
func (w *World) WriteZones(dir string) ([]string, error) {
	var files []string
	for _, z := range []struct {
		name  string
		write func(io.Writer)
	}{{Zone, w.forward}, {Reverse, w.reverse}} {
		file := filepath.Join(dir, strings.TrimSuffix(z.name, ".")+".zone")
		if err := writeFile(file, func(out io.Writer) error {
			// The same as in a negative answer of clusterdns and of
			// CoreDNS, but for the serial.
			fmt.Fprintf(out, "$ORIGIN %s\n$TTL %d\n", z.name, TTL)
			fmt.Fprintf(out, "@ SOA ns.dns.%s hostmaster.%[1]s 1 7200 1800 86400 %d\n@ NS ns.dns.%[3]s\n", z.name, TTL, Zone)
			z.write(out)
			return nil // writeFile sees what went wrong
		}); err != nil {
			return nil, fmt.Errorf("writing zone %s: %w", z.name, err)
		}
		files = append(files, file)
	}
	return files, nil
}

func (w *World) forward(out io.Writer) {
	fmt.Fprint(out, "ns.dns A 10.96.0.10\n")
	for _, s := range w.All() {
		name := strings.TrimSuffix(s.FQDN(), "."+Zone)
		switch s.Kind {
		case ExternalName:
			fmt.Fprintf(out, "%s CNAME %s\n", name, s.External)
			continue
		case ClusterIP:
			fmt.Fprintf(out, "%s A %s\n%s SRV 0 100 %d %[1]s\n_%[5]s._tcp.%[1]s SRV 0 100 %[4]d %[1]s\n", name, s.ClusterIP, name, port, portName)
		}
		for _, e := range s.Endpoints {
			fmt.Fprintf(out, "%s.%s A %s\n", e.Label(), name, e.Addr)
			if s.Kind == Headless {
				fmt.Fprintf(out, "%s A %s\n", name, e.Addr)
				srv := fmt.Sprintf("SRV 0 %d %d %s.%s", max(1, 100/len(s.Endpoints)), targetPort, e.Label(), name)
				fmt.Fprintf(out, "%s %s\n_%s._tcp.%[1]s %[2]s\n", name, srv, portName)
			}
		}
	}
}

func (w *World) reverse(out io.Writer) {
	for _, s := range w.All() {
		if s.Kind == ClusterIP {
			fmt.Fprintf(out, "%s PTR %s\n", ReverseName(s.ClusterIP), s.FQDN())
		}
		for _, e := range s.Endpoints {
			fmt.Fprintf(out, "%s PTR %s.%s\n", ReverseName(e.Addr), e.Label(), s.FQDN())
		}
	}
}

// writeFile makes a file of what write writes, which need not look at errors of
// the writer.
func writeFile(file string, write func(io.Writer) error) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<20)
	return errors.Join(write(b), b.Flush(), f.Close()) // Flush has the writer's first error
}
