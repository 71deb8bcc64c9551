package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// operation is what a worker does again and again.
type operation func(ctx context.Context, worker int) error

// repeat has workers do an operation for about d, and counts. Each does it at least
// once.
func repeat(ctx context.Context, workers int, d time.Duration, op operation) (sample, error) {
	var timeUp atomic.Bool
	var ops atomic.Int64
	var mu sync.Mutex
	var problem error
	var group sync.WaitGroup
	timer := time.AfterFunc(d, func() { timeUp.Store(true) })
	defer timer.Stop()
	started := time.Now()
	for worker := range workers {
		group.Go(func() {
			done := int64(0)
			for done == 0 || !timeUp.Load() {
				if err := op(ctx, worker); err != nil {
					timeUp.Store(true)
					mu.Lock()
					problem = errors.Join(problem, err)
					mu.Unlock()
					break
				}
				done++
			}
			ops.Add(done)
		})
	}
	group.Wait()
	return sample{ops: ops.Load(), wall: time.Since(started)}, problem
}

// oneByOne does an operation again and again for about d, and times each.
func oneByOne(ctx context.Context, d time.Duration, op operation) (sample, error) {
	var s sample
	var took []float64
	for started := time.Now(); s.ops == 0 || s.wall < d; s.wall = time.Since(started) {
		before := time.Now()
		if err := op(ctx, 0); err != nil {
			return s, err
		}
		took = append(took, float64(time.Since(before)))
		s.ops++
	}
	s.typical = time.Duration(middle(took))
	return s, nil
}

// loaded returns a side that loads a server, and counts the CPU time of the server.
func loaded(c *child, workers int, op operation) side {
	return func(ctx context.Context, d time.Duration) (sample, error) {
		return c.during(ctx, func() (sample, error) {
			if workers == 1 {
				return oneByOne(ctx, d, op)
			}
			return repeat(ctx, workers, d, op)
		})
	}
}

// during returns run's sample with what the server used meanwhile.
func (c *child) during(ctx context.Context, run func() (sample, error)) (sample, error) {
	before, err := c.usage(ctx)
	if err != nil {
		return sample{}, err
	}
	s, err := run()
	if err != nil {
		return s, err
	}
	after, err := c.usage(ctx)
	s.used = after.since(before)
	s.cpu = s.used.CPU
	return s, err
}

// paced does something again and again, every so often, for about as long as total.
func paced(ctx context.Context, total, every time.Duration, do func(n int) error) (sample, error) {
	started := time.Now()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return sample{}, ctx.Err()
		}
		if elapsed := time.Since(started); elapsed > total {
			return sample{ops: int64(n), wall: elapsed}, nil
		}
		if err := do(n); err != nil {
			return sample{}, err
		}
	}
}

// rates returns a note on what the two sides of a comparison did.
func rates(what string, ours, limit []sample) string {
	allocs := func(s sample) float64 { return float64(s.used.Allocs) / float64(s.ops) }
	bytes := func(s sample) float64 { return float64(s.used.AllocBytes) / float64(s.ops) }
	return fmt.Sprintf(
		"%s a second: %s, doing nothing %s; allocations each: %s (%s bytes), doing nothing %s (%s)",
		what,
		number(median(ours, rate)), number(median(limit, rate)),
		number(median(ours, allocs)), number(median(ours, bytes)),
		number(median(limit, allocs)), number(median(limit, bytes)))
}

// each runs n goroutines and waits until all have returned.
func each(n int, run func(i int) error) error {
	problems := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { problems[i] = run(i) })
	}
	group.Wait()
	return errors.Join(problems...)
}
