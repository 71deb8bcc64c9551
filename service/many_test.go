package service

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// TestManyAtOnce lets many callers do everything at once, while time passes,
// watchers come and go and callers give up. At the end the store, the listing
// and the invariants agree, and no epoch was granted twice.
func TestManyAtOnce(t *testing.T) {
	h := newHost(t, nodes(12))
	all := h.protocols()
	ctx, stop := context.WithCancel(context.Background())
	var others sync.WaitGroup
	others.Go(func() { // time
		for ctx.Err() == nil {
			h.clock.Advance(200 * time.Millisecond)
			time.Sleep(time.Millisecond)
		}
	})
	for i := range 2 {
		others.Go(func() { watchOnAndOff(ctx, all[i*3]) })
	}
	var epochs sync.Map // who got which
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for range 60 {
				oneLife(t, all[r.IntN(len(all))], r, &epochs, i)
			}
		})
	}
	callers.Wait()
	stop()
	others.Wait()
	await(t, "the mark to follow",
		func() bool { return metricOf(t, h.s, "cirrus_mark_ahead_seconds") > 0 })
	snap := must(h.store.Load(context.Background()))
	rows := must(admin{h.s}.ListLeases(context.Background(), &cirrusv1.ListLeasesRequest{}))
	if len(snap.Records) != len(rows.Leases) {
		t.Fatalf("%d records, %d rows", len(snap.Records), len(rows.Leases))
	}
	for i, rec := range snap.Records {
		row := rows.Leases[i]
		if uint64(rec.Epoch) != row.Epoch || uint32(rec.Node) != row.NodeId ||
			string(rec.App) != row.AppId || (rec.Status == fencing.Revoked) != row.Revoked {
			t.Errorf("the store has %+v, the listing shows %v", rec, row)
		}
	}
}

// oneLife is one incarnation of an app, which does one thing or another.
func oneLife(t *testing.T, p protocol, r *rand.Rand, epochs *sync.Map, i int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if r.IntN(6) == 0 {
		impatient := time.AfterFunc(time.Duration(r.IntN(2000))*time.Microsecond, cancel)
		defer impatient.Stop()
	}
	word := fmt.Sprintf("app-%d-%d", i, r.Uint64())
	resp, err := p.leases.Acquire(ctx,
		acquireRequest("", word, time.Duration(r.IntN(40))*time.Second))
	if err != nil {
		if !expected(err, connect.CodeResourceExhausted) {
			t.Errorf("Acquire: %v", err)
		}
		return
	}
	l := resp.Lease
	if who, loaded := epochs.LoadOrStore(l.Epoch, word); loaded {
		t.Errorf("epoch %d went to %s and to %s", l.Epoch, who, word)
	}
	for range r.IntN(4) {
		if _, err := p.leases.Heartbeat(ctx, heartbeatRequest(l)); err != nil &&
			!expected(err, connect.CodeFailedPrecondition) {
			t.Errorf("Heartbeat: %v", err)
		}
	}
	switch unused := l.FloorMs - 1; r.IntN(5) {
	case 0, 1:
		_, err = p.leases.Release(ctx, releaseRequest(l, &unused))
	case 2:
		_, err = p.leases.Release(ctx, releaseRequest(l, nil))
	case 3:
		_, err = p.admin.Revoke(ctx, &cirrusv1.RevokeRequest{NodeId: l.NodeId, Epoch: l.Epoch})
	}
	if err != nil && !expected(err, connect.CodeFailedPrecondition) {
		t.Errorf("the end of a life: %v", err)
	}
}

// expected says whether an error has the code, or is of a caller who has left, or
// of the store, which is slow by a clock that goes so fast.
func expected(err error, code connect.Code) bool {
	got := connect.CodeOf(err)
	return got == code || got == connect.CodeCanceled || reasonOf(err) == reasonStoreSlow
}

func watchOnAndOff(ctx context.Context, p protocol) {
	for ctx.Err() == nil {
		one, cancel := context.WithCancel(ctx)
		stream, err := p.admin.Watch(one, &cirrusv1.WatchRequest{})
		for n := 0; err == nil && n < 50 && stream.Receive(); n++ {
			continue
		}
		cancel()
		if err == nil {
			stream.Close()
		}
	}
}
