package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/clusterdns/clusterdns/bench/peer"
	"github.com/clusterdns/clusterdns/bench/results"
)

// profiled is a load under which profiles are taken.
type profiled struct {
	mix  string
	rate int // queries a second; 0 for as many as are answered
}

// profile leaves profiles of clusterdns under load beside the results' file.
func (r *runner) profile(ctx context.Context, of profiled) (err error) {
	s, err := r.site(ctx, r.plan.world, true)
	if err != nil {
		return err
	}
	checked, _, err := s.files(of.mix)
	if err != nil {
		return err
	}
	ports, err := peer.FreePorts(1)
	if err != nil {
		return err
	}
	pprof := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	return r.with(ctx, s, results.Ours, placed{plugins: []string{"pprof " + pprof}}, func(p *peer.Peer, _ time.Duration) error {
		const seconds = 10
		loaded := make(chan error, 1)
		go func() {
			d := (seconds + 2) * time.Second
			var err error
			if of.rate > 0 {
				_, err = r.dnsload(ctx, p, checked, "-rate", strconv.Itoa(of.rate), "-sockets", "64", "-duration", d.String())
			} else {
				_, err = r.saturate(ctx, p, s, asked{of.mix, "udp"}, d)
			}
			loaded <- err
		}()
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
		name := of.mix
		if of.rate > 0 {
			name += fmt.Sprintf("-%d", of.rate)
		}
		files := []string{filepath.Join(filepath.Dir(r.out), "profile-cpu-"+name+".pb.gz"), filepath.Join(filepath.Dir(r.out), "profile-heap-"+name+".pb.gz")}
		for i, query := range []string{fmt.Sprintf("profile?seconds=%d", seconds), "heap"} {
			if err := fetch(ctx, "http://"+pprof+"/debug/pprof/"+query, files[i]); err != nil {
				return err
			}
		}
		if err := <-loaded; err != nil {
			return err
		}
		for _, file := range files {
			out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=25", r.programs[results.Ours], file).CombinedOutput()
			if err != nil {
				return fmt.Errorf("pprof of %s: %w\n%s", file, err, out)
			}
			fmt.Printf("%s\n%s\n", file, out)
		}
		return nil
	})
}

// fetch writes what a URL has into a file.
func fetch(ctx context.Context, url, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = f.ReadFrom(resp.Body)
	return errors.Join(err, f.Close())
}
