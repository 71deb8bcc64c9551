package client_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/cirrus-id/cirrus/client"
)

// fakeSteady is a steady clock that a test advances by hand.
type fakeSteady struct {
	mu  sync.Mutex
	now time.Duration
}

func (c *fakeSteady) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeSteady) Sleep(time.Duration) {}

func (c *fakeSteady) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += d
}

// TestFakeClocks checks that an app's own tests can drive a holder with a fake
// clockwork clock and a steady clock of their own, with real goroutines.
func TestFakeClocks(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	timers, steady := clockwork.NewFakeClock(), &fakeSteady{}
	changes, beats := make(chan client.Change, 9), make(chan struct{}, 9)
	service := newFakeService()
	h, err := client.Hold(ctx, "http://cirrus.test",
		"app", client.WithHTTPClient(inProcess{service.handler()}),
		client.WithClock(timers), client.WithSteadyClock(steady),
		client.OnChange(func(e client.Event) { changes <- e.Change }))
	if err != nil {
		t.Fatal(err)
	}
	wantChange := func(want client.Change) {
		t.Helper()
		select {
		case got := <-changes:
			if got != want {
				t.Fatalf("OnChange got %v, want %v", got, want)
			}
		case <-ctx.Done():
			t.Fatalf("OnChange did not get %v within a minute", want)
		}
	}
	pass := func(d time.Duration) {
		if err := timers.BlockUntilContext(ctx, 1); err != nil {
			t.Fatal(err)
		}
		steady.advance(d)
		timers.Advance(d)
	}

	wantChange(client.Held)
	service.set(func(context.Context, any) error { beats <- struct{}{}; return nil }, nil)
	pass(every * 11 / 10)
	select {
	case <-beats:
	case <-ctx.Done():
		t.Fatal("no heartbeat was sent after a third of the TTL")
	}
	service.set(down, nil)
	pass(2 * ttl)
	wantChange(client.Expired)
	if h.Valid() {
		t.Error("Valid is true after the lease expired")
	}
	service.set(nil, nil)
	if err := h.Release(ctx); err != nil {
		t.Error(err)
	}
	wantChange(client.Released)
}
