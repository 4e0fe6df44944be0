package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	pollInterval = 50 * time.Millisecond
	// tryLimit bounds one try, so that a hung server costs one of many.
	tryLimit = 5 * time.Second
)

// Wait calls check until it returns nil, and fails when the context ends, or
// after startLimit, with check's last error, and at once if a part that was
// started ended by itself. What is waited for goes into the error.
func (c *ControlPlane) Wait(ctx context.Context, what string, check func(context.Context) error) error {
	if err := poll(ctx, check, c.parts()...); err != nil {
		return fmt.Errorf("waiting for %s: %w", what, err)
	}
	return nil
}

func poll(ctx context.Context, check func(context.Context) error, parts ...*Part) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := try(ctx, check)
		if err == nil {
			return nil
		}
		for _, p := range parts {
			if crash := p.crashed(); crash != nil {
				return crash
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

func try(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	return check(ctx)
}
