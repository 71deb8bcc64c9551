package client_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/cirrus-id/cirrus/client"
)

// coroutines is a Runner with one thread: it resumes the first coroutine whose
// wait has ended, and advances the clock if there is none.
type coroutines struct {
	clock   *clockwork.FakeClock
	start   time.Time
	all     []*coroutine
	current *coroutine
}

type coroutine struct {
	resume func() (struct{}, bool)
	yield  func(struct{}) bool
	timer  <-chan time.Time
	a, b   <-chan struct{}
}

func newCoroutines() *coroutines {
	clock := clockwork.NewFakeClock()
	return &coroutines{clock: clock, start: clock.Now()}
}

// Now and Sleep implement the steady clock.
func (c *coroutines) Now() time.Duration    { return c.clock.Since(c.start) }
func (c *coroutines) Sleep(d time.Duration) { c.Wait(c.clock.After(d), nil, nil) }

func (c *coroutines) Go(f func()) {
	co := &coroutine{}
	co.resume, _ = iter.Pull(func(yield func(struct{}) bool) {
		co.yield = yield
		f()
	})
	co.a = closedChan()
	c.all = append(c.all, co)
}

func closedChan() <-chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}

func (c *coroutines) Wait(timer <-chan time.Time, a, b <-chan struct{}) {
	co := c.current
	co.timer, co.a, co.b = timer, a, b
	co.yield(struct{}{})
}

// ready reports whether one of the channels that the coroutine waits for is ready.
func (co *coroutine) ready() bool {
	select {
	case <-co.timer:
	case <-co.a:
	case <-co.b:
	default:
		return false
	}
	return true
}

// run resumes coroutines until all have returned.
func (c *coroutines) run(t *testing.T) {
	for step := 0; len(c.all) > 0; step++ {
		if step > 100_000 {
			t.Fatalf("%d coroutines have not returned after 100,000 steps", len(c.all))
		}
		if !c.runOne() {
			c.clock.Advance(50 * time.Millisecond)
		}
	}
}

func (c *coroutines) runOne() bool {
	for i, co := range c.all {
		if !co.ready() {
			continue
		}
		c.current = co
		if _, more := co.resume(); !more {
			c.all = append(c.all[:i], c.all[i+1:]...)
		}
		return true
	}
	return false
}

// oneThread runs a holder from Hold to Release as coroutines and returns a log of
// its calls and changes.
func oneThread(t *testing.T, seed uint64) (log string) {
	c := newCoroutines()
	service := newFakeService()
	note := func(format string, args ...any) {
		log += fmt.Sprintf("%v ", c.Now()) + fmt.Sprintf(format, args...) + "\n"
	}
	service.before = func(_ context.Context, r any) error { note("%T", r); return nil }
	random := func() uint64 { seed = seed*6364136223846793005 + 1442695040888963407; return seed >> 32 }
	c.Go(func() {
		h, err := client.Hold(t.Context(), "http://cirrus.test", "app",
			client.WithHTTPClient(inProcess{service.handler()}), client.WithRunner(c),
			client.WithClock(c.clock),
			client.WithSteadyClock(c), client.WithRandom(random),
			client.OnChange(func(e client.Event) { note("%v epoch %d", e.Change, e.Lease.Epoch) }))
		if err != nil {
			t.Error(err)
			return
		}
		c.Sleep(25 * time.Second)
		service.loseAll()
		c.Sleep(25 * time.Second)
		_, err = h.Generator().Next()
		note("minted: %v", err)
		note("released: %v", h.Release(t.Context()))
	})
	c.run(t)
	return log
}

// TestOneThread checks that a holder runs in one thread with another Runner, and
// that one seed always has the same outcome.
func TestOneThread(t *testing.T) {
	first := oneThread(t, 1)
	for range 20 {
		if again := oneThread(t, 1); again != first {
			t.Fatalf("one seed, two outcomes:\n%s\n%s", first, again)
		}
	}
	if oneThread(t, 2) == first {
		t.Error("seeds 1 and 2 have the same outcome: jitter does not depend on the seed")
	}
	t.Log("\n" + first)
}
