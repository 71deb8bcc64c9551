package supervise

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// seconds makes a steady time or a duration.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func TestGuard(t *testing.T) {
	type step struct {
		at, remaining float64
		want          order
	}
	for _, tc := range []struct {
		name  string
		steps []step // with a grace of 2 s
	}{
		{"heartbeats are answered", []step{{0, 9, orderNone}, {3, 9, orderNone}, {6, 9, orderNone}, {14.9, 9, orderNone}}},
		{"no heartbeat is answered", []step{{0, 9, orderNone}, {6.9, 2.1, orderNone}, {7, 2, orderAsk}, {8, 1, orderNone}, {9, 0, orderKill}, {9.1, 0, orderKill}, {10, 0, orderKill}}},
		{"one is answered after the child was asked", []step{{0, 9, orderNone}, {7, 2, orderAsk}, {8, 9, orderNone}, {9, 8, orderKill}, {9.1, 7.9, orderKill}}},
		{"lost early", []step{{0, 9, orderNone}, {3, 0, orderAsk}, {4.9, 0, orderNone}, {5, 0, orderKill}}},
		{"lost shortly before the deadline", []step{{0, 9, orderNone}, {6.9, 2.1, orderNone}, {6.95, 0, orderAsk}, {8.9, 0, orderNone}, {8.95, 0, orderKill}}},
		{"lost after the child was asked", []step{{0, 9, orderNone}, {7.5, 1.5, orderAsk}, {8, 0, orderNone}, {9, 0, orderKill}}},
		{"stalled into the grace", []step{{0, 9, orderNone}, {8.5, 0.5, orderAsk}, {9, 0, orderKill}}},
		{"stalled past the deadline", []step{{0, 9, orderNone}, {3600, 0, orderKill}}},
		{"stalled past the deadline, and revived before the next call", []step{{0, 9, orderNone}, {3600, 9, orderKill}, {3601, 8, orderKill}}},
		{"ended before the first call", []step{{1, 0, orderKill}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := &guard{grace: 2 * time.Second}
			for _, s := range tc.steps {
				if got := g.decide(seconds(s.at), seconds(s.remaining)); got != s.want {
					t.Errorf("at %v s, %v s remaining: order %d, want %d", s.at, s.remaining, got,
						s.want)
				}
			}
		})
	}
}

func TestGuardWithoutGrace(t *testing.T) {
	g := &guard{}
	for _, l := range []struct {
		at, remaining time.Duration
		want          order
	}{{0, time.Second, orderNone}, {time.Second - 1, 1, orderNone}, {time.Second, 0, orderKill}} {
		if got := g.decide(l.at, l.remaining); got != l.want {
			t.Errorf("at %v: order %d, want %d", l.at, got, l.want)
		}
	}
}

// A caller that comes again when wait says never kills late, asks the child to end
// grace before the deadline or as soon as it can, and never spins.
func TestGuardIsInTime(t *testing.T) {
	for seed := range uint64(2000) {
		if err := guardLife(rand.New(rand.NewPCG(seed, 0))); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// guardLife is the life of one child. Its lease has a TTL of 3 s, and heartbeats
// are answered up to a random time.
func guardLife(r *rand.Rand) error {
	const ttl, grace = 3 * time.Second, time.Second
	g := &guard{grace: grace}
	deadline, lastGood := ttl, time.Duration(r.IntN(10))*time.Second
	lostAt := time.Duration(1 << 62)
	if r.IntN(2) == 0 {
		lostAt = lastGood + time.Duration(r.Int64N(int64(ttl)))
	}
	for at, asked := time.Duration(0), time.Duration(-1); ; {
		if at <= lastGood {
			deadline = at + ttl
		}
		remaining := max(0, deadline-at)
		if at >= lostAt {
			remaining = 0
		}
		switch g.decide(at, remaining) {
		case orderAsk:
			asked = at
			if due := min(deadline-grace, lostAt); at < due || at > due+maxWait {
				return fmt.Errorf("SIGTERM ordered at %v, want it at %v", at, due)
			}
		case orderKill:
			if want := min(deadline, asked+grace); at != want {
				return fmt.Errorf("SIGTERM ordered at %v and SIGKILL at %v, want it at %v", asked,
					at, want)
			}
			return nil
		}
		if at > deadline {
			return fmt.Errorf("the child is alive at %v, after the deadline %v", at, deadline)
		}
		step := g.wait(at)
		if step <= 0 || step > maxWait {
			return fmt.Errorf("at %v wait is %v, want above 0 and at most %v", at, step, maxWait)
		}
		at += step
	}
}
