package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/cirrus-id/cirrus/client"
	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/snowflake"
)

// layout is the layout of the fake service's pools.
var layout = snowflake.Layout{TimestampBits: 41, NodeBits: 10, SequenceBits: 12}

func TestHoldKeepsTheLease(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.mustHold(client.WithPool("eu"), client.WithTTL(ttl), client.WithWait(time.Second))
		w.mints(h, true)
		lost := h.Lost()
		w.pass(10 * time.Minute)
		id := w.mints(h, true)
		parts, err := layout.Decompose(id)
		if err != nil || parts.Node != 100 || h.NodeID() != 100 || h.Epoch() != 1 {
			w.Errorf("minted %+v, %v under node ID %d, epoch %d; want node ID 100, epoch 1", parts,
				err, h.NodeID(), h.Epoch())
		}
		if isClosed(lost) {
			w.Error("Lost is closed while the lease is held")
		}
		acquires, beats, _ := w.service.counts()
		if least, most := int(10*time.Minute/every*10/11), int(
			10*time.Minute/every*10/9); acquires != 1 || beats < least || beats > most {
			w.Errorf("%d acquires and %d heartbeats in 10 minutes, want 1 and %d to %d", acquires,
				beats, least, most)
		}
		w.wantChanges(client.Held)
		a := w.service.acquires[0]
		if a.GetPool() != "eu" || a.GetAppId() != "app" || a.GetTtl().AsDuration() != ttl ||
			a.GetWait().AsDuration() != time.Second || len(a.GetInstanceId()) != 32 {
			w.Errorf("the Acquire request is %v, want the options' pool, app, TTL and wait", a)
		}
		l := h.Lease()
		if l.Node != 100 || l.Epoch != 1 || l.Pool != "eu" || l.App != "app" || l.TTL != ttl ||
			l.Layout != layout || l.Ceiling <= l.Floor {
			w.Errorf("Lease is %+v, want the one that was granted", l)
		}
	})
}

// TestHoldContext checks that the end of Hold's context does not end the holder.
func TestHoldContext(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx, cancel := context.WithCancel(w.Context())
		h, err := w.hold(ctx)
		if err != nil {
			w.Fatal(err)
		}
		cancel()
		w.pass(5 * ttl)
		w.mints(h, true)
		w.wantChanges(client.Held)
		if err := h.Release(w.Context()); err != nil {
			w.Error(err)
		}
	})
}

func TestExpireAndRevive(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.mustHold()
		lost := h.Lost()
		w.service.set(down, nil)
		w.pass(ttl - time.Millisecond)
		w.mints(h, true)
		w.pass(time.Millisecond)
		w.mints(h, false)
		w.wantChanges(client.Held, client.Expired)
		if !isClosed(lost) {
			w.Error("Lost is open after the lease expired")
		}
		if e := w.events.list()[1]; connect.CodeOf(e.Err) != connect.CodeUnavailable ||
			e.Lease.Valid() {
			w.Errorf("the Expired event is %+v, want an invalid lease and UNAVAILABLE", e)
		}
		w.pass(5 * ttl)
		w.service.set(nil, nil)
		w.pass(fencing.MaxBackoff)
		w.wantChanges(client.Held, client.Expired, client.Revived)
		w.mints(h, true)
		if h.Epoch() != 1 {
			w.Errorf("revived under epoch %d, want 1", h.Epoch())
		}
	})
}

func TestLostAndReacquired(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.mustHold()
		generator, first, lost := h.Generator(), w.mints(h, true), h.Lost()
		w.service.loseAll()
		w.pass(every * 11 / 10)
		w.wantChanges(client.Held, client.Lost, client.Reacquired)
		if !isClosed(lost) {
			w.Error("Lost is open after the lease was lost")
		}
		id := w.mints(h, true)
		if l := h.Lease(); l.Node != 101 || l.Epoch != 2 || generator != h.Generator() {
			w.Errorf("reacquired %+v, want node ID 101, epoch 2 and the same generator", l)
		}
		before, _ := layout.Decompose(first)
		after, err := layout.Decompose(id)
		if err != nil || before.Node != 100 || after.Node != 101 {
			w.Errorf("minted %+v, then %+v, %v; want node IDs 100 and 101", before, after, err)
		}
		if e := w.events.list()[1]; e.Lease.Epoch != 1 ||
			connect.CodeOf(e.Err) != connect.CodeFailedPrecondition {
			w.Errorf("the Lost event is %+v, want epoch 1 and FAILED_PRECONDITION", e)
		}
		if a := w.service.acquires; a[0].GetInstanceId() == a[1].GetInstanceId() {
			w.Error("two leases have one instance ID (C1)")
		}
	})
}

// TestLostStopsAtOnce checks that nothing is minted between a loss and the next
// lease, although the deadline of the lost one is still ahead (C5).
func TestLostStopsAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.mustHold()
		w.service.set(func(ctx context.Context, r any) error {
			if _, ok := r.(*cirrusv1.AcquireRequest); ok {
				return hang(ctx, r)
			}
			return nil
		}, nil)
		w.service.loseAll()
		w.pass(every * 11 / 10)
		w.mints(h, false)
		w.wantChanges(client.Held, client.Lost)
		if h.Epoch() != 1 {
			w.Errorf("epoch %d, want 1, that of the last lease", h.Epoch())
		}
	})
}

func TestWithoutReacquire(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.mustHold(client.WithoutReacquire())
		w.service.loseAll()
		w.pass(ttl)
		w.mints(h, false)
		w.wantChanges(client.Held, client.Lost)
		if acquires, _, _ := w.service.counts(); acquires != 1 {
			w.Errorf("%d acquires, want 1", acquires)
		}
		if err := h.Release(w.Context()); err != nil {
			w.Errorf("Release of a lost lease: %v", err)
		}
	})
}

func TestReacquireRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.mustHold()
		w.service.loseAll()
		w.service.set(func(_ context.Context, r any) error {
			if _, ok := r.(*cirrusv1.AcquireRequest); ok {
				return refusal(connect.CodeResourceExhausted)
			}
			return nil
		}, nil)
		w.pass(ttl)
		w.mints(h, false)
		w.wantChanges(client.Held, client.Lost, client.Refused)
		if e := w.events.list()[2]; connect.CodeOf(e.Err) != connect.CodeResourceExhausted {
			w.Errorf("the Refused event is %+v, want RESOURCE_EXHAUSTED", e)
		}
		if err := h.Release(w.Context()); err != nil {
			w.Errorf("Release without a lease: %v", err)
		}
	})
}

// TestReleaseStopsFirst checks that minting has ended before the Release request
// is sent, and that the request has the last timestamp used (C6).
func TestReleaseStopsFirst(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.mustHold()
		lost := h.Lost()
		w.pass(1234 * time.Millisecond)
		id := w.mints(h, true)
		parts, _ := layout.Decompose(id)
		w.service.set(func(_ context.Context, r any) error {
			if _, ok := r.(*cirrusv1.ReleaseRequest); ok {
				w.mints(h, false)
			}
			return nil
		}, nil)
		if err := h.Release(w.Context()); err != nil {
			w.Fatal(err)
		}
		w.mints(h, false)
		w.wantChanges(client.Held, client.Released)
		if !isClosed(lost) {
			w.Error("Lost is open after Release")
		}
		if r := w.service.releases[0]; r.GetLastTimestampMs() != int64(parts.Timestamp) ||
			r.GetEpoch() != 1 || r.GetNodeId() != 100 {
			w.Errorf("the Release request is %v, but the last ID was %+v", r, parts)
		}
		if err := h.Release(w.Context()); err != nil {
			w.Errorf("second Release: %v", err)
		}
		w.pass(time.Minute)
		if _, beats, releases := w.service.counts(); beats != 0 || releases != 1 {
			w.Errorf("%d heartbeats and %d releases, want 0 and 1", beats, releases)
		}
	})
}

func TestReleaseOfAnUnusedLease(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.mustHold()
		if err := h.Release(w.Context()); err != nil {
			w.Fatal(err)
		}
		if r := w.service.releases[0]; r.GetLastTimestampMs() != int64(h.Lease().Floor)-1 {
			w.Errorf("the Release request is %v, want floor - 1 as the last timestamp", r)
		}
	})
}

func TestReleaseFails(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(context.Context, any) error
		ctx   time.Duration
		took  time.Duration // at most
		code  connect.Code  // 0: no error
		cause error
	}{
		{name: "down", fault: down, took: fencing.MaxRelease + fencing.MaxBackoff, code: connect.CodeUnavailable},
		{name: "hangs", fault: hang, took: fencing.MaxRelease + fencing.MaxTry + fencing.MaxBackoff, code: connect.CodeUnknown},
		{name: "down, and no time", fault: down, ctx: time.Second, took: time.Second, cause: context.DeadlineExceeded},
		{name: "hangs, and no time", fault: hang, ctx: time.Second, took: time.Second, cause: context.DeadlineExceeded},
		{name: "forbidden", fault: func(context.Context, any) error { return refusal(connect.CodePermissionDenied) }, code: connect.CodePermissionDenied},
		{name: "lost", fault: func(context.Context, any) error { return leaseLost() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				h := w.mustHold()
				w.service.set(tt.fault, nil)
				ctx, cancel := context.WithCancel(w.Context())
				if tt.ctx > 0 {
					ctx, cancel = context.WithTimeout(w.Context(), tt.ctx)
				}
				defer cancel()
				start := time.Now()
				err := h.Release(ctx)
				if took := time.Since(start); took > tt.took {
					w.Errorf("Release took %v, want at most %v", took, tt.took)
				}
				switch {
				case tt.cause != nil && !errors.Is(err, tt.cause), tt.code != 0 &&
					connect.CodeOf(err) != tt.code:
					w.Errorf("Release: error %v, want %v or code %v", err, tt.cause, tt.code)
				case (err != nil) != (tt.cause != nil || tt.code != 0):
					w.Errorf("Release: error %v, want %v or code %v", err, tt.cause, tt.code)
				}
				w.wantChanges(client.Held, client.Released)
				if e := w.events.list()[1].Err; (e != nil) != (err != nil) || !errors.Is(err, e) &&
					e != nil {
					w.Errorf("the Released event has the error %v, Release returned %v", e, err)
				}
				w.mints(h, false)
			})
		})
	}
}

// TestAnswerLost checks that a holder which gets no answer to Acquire asks again
// with the same instance ID, and so gets the same lease.
func TestAnswerLost(t *testing.T) {
	inWorld(t, func(w *world) {
		lost := 0
		w.service.set(nil, func(ctx context.Context, r any) error {
			if lost++; lost <= 3 {
				return down(ctx, r)
			}
			return nil
		})
		h := w.mustHold()
		if acquires, _, _ := w.service.counts(); acquires != 4 || len(w.service.leases) != 1 ||
			h.Epoch() != 1 {
			w.Errorf("%d acquires for %d leases, epoch %d; want 4 for one lease, epoch 1", acquires,
				len(w.service.leases), h.Epoch())
		}
	})
}

// TestSlowAcquire checks that a lease whose grant took longer than TTL/3 is
// confirmed by a heartbeat before Hold returns (C2).
func TestSlowAcquire(t *testing.T) {
	inWorld(t, func(w *world) {
		w.service.set(nil, func(ctx context.Context, r any) error {
			if _, ok := r.(*cirrusv1.AcquireRequest); ok {
				return slow(every+time.Millisecond)(ctx, r)
			}
			return nil
		})
		h := w.mustHold(client.WithWait(time.Minute))
		if _, beats, _ := w.service.counts(); beats != 1 {
			w.Errorf("%d heartbeats before Hold returned, want 1", beats)
		}
		if h.Remaining() != ttl {
			w.Errorf("Remaining is %v, want %v, counted from the heartbeat", h.Remaining(), ttl)
		}
	})
}

// TestDeadlineCountsFromSending checks that a delayed answer does not move the
// deadline (C2).
func TestDeadlineCountsFromSending(t *testing.T) {
	inWorld(t, func(w *world) {
		w.service.set(nil, slow(4*time.Second))
		h := w.mustHold()
		if want := ttl - 4*time.Second; h.Remaining() != want {
			w.Errorf("Remaining is %v, want %v", h.Remaining(), want)
		}
	})
}

func TestHoldFails(t *testing.T) {
	const timeout = 10 * time.Second
	for _, tt := range []struct {
		name  string
		fault func(context.Context, any) error
		took  time.Duration
		code  connect.Code
	}{
		{"no such pool", func(context.Context, any) error { return refusal(connect.CodeNotFound) }, 0, connect.CodeNotFound},
		{"malformed", func(context.Context, any) error { return refusal(connect.CodeInvalidArgument) }, 0, connect.CodeInvalidArgument},
		{"no credentials", func(context.Context, any) error { return refusal(connect.CodeUnauthenticated) }, 0, connect.CodeUnauthenticated},
		{"layout exhausted", func(context.Context, any) error { return refusal(connect.CodeFailedPrecondition) }, 0, connect.CodeFailedPrecondition},
		{"full for good", func(context.Context, any) error { return refusal(connect.CodeResourceExhausted) }, 0, connect.CodeResourceExhausted},
		{"full", func(context.Context, any) error { return refusal(connect.CodeResourceExhausted, retryIn(time.Second)) }, timeout, connect.CodeResourceExhausted},
		{"not open", func(context.Context, any) error { return refusal(connect.CodeUnavailable, retryIn(time.Minute)) }, timeout, connect.CodeUnavailable},
		{"down", down, timeout, connect.CodeUnavailable},
		{"hangs", hang, timeout, connect.CodeUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.service.set(tt.fault, nil)
				ctx, cancel := context.WithTimeout(w.Context(), timeout)
				defer cancel()
				start := time.Now()
				h, err := w.hold(ctx)
				if h != nil || connect.CodeOf(err) != tt.code ||
					errors.Is(err, context.DeadlineExceeded) != (tt.took > 0) {
					w.Errorf("Hold returned a holder: %t, error %v; want none and code %v",
						h != nil, err, tt.code)
				}
				if took := time.Since(start); took != tt.took {
					w.Errorf("Hold took %v, want %v", took, tt.took)
				}
			})
		})
	}
}

func TestHoldWaitsForANodeID(t *testing.T) {
	inWorld(t, func(w *world) {
		free, asked := time.Now().Add(45*time.Second), 0
		w.service.set(func(context.Context, any) error {
			asked++
			if remaining := time.Until(free); remaining > 0 {
				return refusal(connect.CodeResourceExhausted, retryIn(remaining))
			}
			return nil
		}, nil)
		start := time.Now()
		w.mustHold()
		if took := time.Since(start); took < 45*time.Second || took > 50*time.Second {
			w.Errorf("Hold took %v, want 45 to 50 s", took)
		}
		if asked != 2 {
			w.Errorf("%d acquires, want 2: the second one after the delay of the first answer",
				asked)
		}
	})
}

// TestStalledLoop checks that a lease is not valid after its deadline although no
// timer has fired yet (C4).
func TestStalledLoop(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.mustHold()
		w.mints(h, true)
		w.pass(0) // until the loop sleeps
		w.steady.jump(ttl)
		w.mints(h, false)
		if got := w.events.list(); len(got) > 1 {
			w.Errorf("OnChange got %v: the loop was not stalled", got)
		}
		w.pass(time.Second) // the longest that the loop waits
		w.wantChanges(client.Held, client.Expired, client.Revived)
		w.mints(h, true)
	})
}

// TestSlowOnChange checks that an OnChange which blocks delays no heartbeat, gets
// all changes in order, and may call the holder.
func TestSlowOnChange(t *testing.T) {
	inWorld(t, func(w *world) {
		var h *client.Holder
		gate := make(chan struct{})
		h = w.mustHold(client.OnChange(func(e client.Event) {
			<-gate
			w.events.add(e)
			if e.Change == client.Reacquired {
				if err := h.Release(w.Context()); err != nil {
					w.Error(err)
				}
			}
		}))
		w.pass(3 * ttl)
		w.mints(h, true)
		w.service.loseAll()
		w.pass(every * 11 / 10)
		w.mints(h, true)
		w.wantChanges()
		close(gate)
		w.wantChanges(client.Held, client.Lost, client.Reacquired, client.Released)
		w.mints(h, false)
	})
}

// TestSameWindowTwice checks that a holder ends if the service grants a window
// that was used already, as it does if its store has lost data.
func TestSameWindowTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.mustHold()
		w.pass(time.Second)
		w.mints(h, true)
		w.service.mu.Lock()
		for instance, l := range w.service.leases {
			delete(w.service.leases, instance)
			floor := l.GetFloorMs()
			w.service.before = func(_ context.Context, r any) error {
				if a, ok := r.(*cirrusv1.AcquireRequest); ok {
					l.FloorMs, l.Epoch, l.InstanceId = floor, 7, a.GetInstanceId()
					w.service.leases[a.GetInstanceId()] = l
				}
				return nil
			}
		}
		w.service.mu.Unlock()
		w.pass(every * 11 / 10)
		w.mints(h, false)
		w.wantChanges(client.Held, client.Lost, client.Refused)
		if e := w.events.list()[2]; !errors.Is(e.Err, snowflake.ErrSameLease) {
			w.Errorf("the Refused event has the error %v, want ErrSameLease", e.Err)
		}
	})
}

func TestOptionsRefused(t *testing.T) {
	for _, tt := range []struct {
		name, url, app string
		opt            client.Option
		want           string // in the error
	}{
		{"no scheme", "localhost:50051", "app", nil, "http://host:port"},
		{"no host", "http://", "app", nil, "http://host:port"},
		{"query", "http://cirrus.test?a=b", "app", nil, "?"},
		{"no app", "http://cirrus.test", "", nil, "app_id"},
		{"pool", "http://cirrus.test", "app", client.WithPool("Über"), "pool"},
		{"ttl", "http://cirrus.test", "app", client.WithTTL(time.Millisecond), "ttl"},
		{"wait", "http://cirrus.test", "app", client.WithWait(time.Hour), "wait"},
		{"nil", "http://cirrus.test", "app", client.WithLogger(nil), "nil"},
	} {
		var opts []client.Option
		if tt.opt != nil {
			opts = append(opts, tt.opt)
		}
		if h, err := client.Hold(t.Context(), tt.url, tt.app, opts...); h != nil || err == nil ||
			!strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Hold = %v, %v; want an error with %q", tt.name, h, err, tt.want)
		}
	}
}

// TestOthersAnswers checks that an answer to another instance's request counts as
// a failure (C7).
func TestOthersAnswers(t *testing.T) {
	inWorld(t, func(w *world) {
		w.service.setMixUp(true)
		ctx, cancel := context.WithTimeout(context.Background(), ttl)
		defer cancel()
		if _, err := w.hold(ctx); err == nil {
			t.Error("Hold succeeded with another instance's lease")
		}
		w.service.setMixUp(false)
		h := w.mustHold()
		w.service.setMixUp(true)
		w.pass(ttl + time.Millisecond)
		w.mints(h, false)
	})
}

// TestForeignLeaseLost checks that a LEASE_LOST of another domain, as a proxy may
// answer, does not end the lease (C5).
func TestForeignLeaseLost(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.mustHold()
		w.service.set(func(context.Context, any) error {
			return refusal(connect.CodeFailedPrecondition,
				&errdetails.ErrorInfo{Reason: "LEASE_LOST", Domain: "proxy.test"})
		}, nil)
		w.pass(ttl - time.Millisecond)
		w.mints(h, true)
		w.wantChanges(client.Held)
	})
}
