package fencing

import (
	"strings"
	"testing"
	"time"
)

func replicaServer(t *testing.T) *Server {
	t.Helper()
	batch, err := NewStore(startOfWorld, DefaultStride, true, NewPool(DefaultPool))
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(Snapshot{Meta: *batch.Meta, Pools: batch.Pools}, DefaultStride,
		Now{Wall: startOfWorld})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRequireTTL: S11, a pool whose leases a takeover could outlast is refused, in the
// store and in a request.
func TestRequireTTL(t *testing.T) {
	s := replicaServer(t)
	if err := s.RequireTTL(DefaultTTL + 1); err == nil {
		t.Error("a pool of the store with too short a TTL is accepted")
	}
	if err := s.RequireTTL(DefaultTTL); err != nil {
		t.Errorf("a pool whose TTL is just long enough is refused: %v", err)
	}
	now := Now{Wall: startOfWorld}
	short, enough := DefaultTTL-1, DefaultTTL
	p := PoolChange{TTL: &short}.New("east")
	if _, r := s.CreatePool(now, p, Confirmed{}); r == nil || r.Reason != ReasonForbidden {
		t.Errorf("CreatePool with a TTL of %v: %v", short, r)
	}
	if _, r := s.UpdatePool(now, DefaultPool, PoolChange{TTL: &short}); r == nil ||
		r.Reason != ReasonForbidden {
		t.Errorf("UpdatePool to a TTL of %v: %v", short, r)
	}
	if _, r := s.CreatePool(now, PoolChange{TTL: &enough}.New("east"), Confirmed{}); r != nil {
		t.Errorf("CreatePool with a TTL of %v: %v", enough, r)
	}
	if _, r := replicaServer(t).CreatePool(now, p, Confirmed{}); r != nil {
		t.Errorf("CreatePool with TTL %v on a server without RequireTTL: %v", short, r)
	}
}

// TestRequireRequestedTTL: S11, an Acquire for a lease that a takeover could outlast is
// refused, too.
func TestRequireRequestedTTL(t *testing.T) {
	p := smallPool(3)
	p.TTL, p.MaxTTL = 40*time.Second, time.Minute
	g := newRig(t, 10*time.Second, p)
	short, enough := ask("short"), ask("enough")
	short.TTL, enough.TTL = 20*time.Second-1, 20*time.Second
	if err := g.s.RequireTTL(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	_, r := g.acquire(short)
	wantReason(t, "a TTL under the shortest", r, ReasonInvalid)
	if r != nil && (r.Field != "ttl" || !strings.Contains(r.Message, "give 20s to")) {
		t.Errorf("the refusal %v does not say which TTL may be asked for", r)
	}
	if l, r := g.acquire(enough); r != nil || l.TTL != enough.TTL {
		t.Errorf("a TTL that is just long enough: %+v, %v", l, r)
	}
}

// TestPromisesFor: promises may be made until the stride or the mark is reached,
// whichever comes first, and not before the first mark.
func TestPromisesFor(t *testing.T) {
	s := replicaServer(t)
	at := func(d, lead time.Duration) Now {
		return Now{Steady: d,
			Wall: startOfWorld.Add(d + lead)}
	}
	wantLeft := func(now Now, want time.Duration) {
		t.Helper()
		if got := s.PromisesFor(now); got != want {
			t.Errorf("at %v: PromisesFor is %v, want %v", now.Steady, got, want)
		}
	}
	wantLeft(at(0, 0), 0)
	w, _ := s.Tick(at(0, 0))
	wantLeft(at(time.Second, 0), 0)
	s.Written(at(time.Second, 0), w)
	wantLeft(at(2*time.Second, 0), DefaultStride-2*time.Second)
	// the wall clock leapt, and server time with it
	wantLeft(at(3*time.Second, time.Second), DefaultStride-4*time.Second)
	wantLeft(at(DefaultStride, time.Second), 0)
}
