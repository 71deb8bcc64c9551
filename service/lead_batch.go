package service

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// HeartbeatBatch implements answerer.
func (t *term) HeartbeatBatch(ctx context.Context,
	req *cirrusv1.HeartbeatBatchRequest) (*cirrusv1.HeartbeatBatchResponse, error) {
	if n := len(req.Heartbeats); n > MaxBatch {
		return nil, badField("heartbeats",
			fmt.Sprintf("%d are too many: send at most %d at once", n, MaxBatch))
	}
	if err := t.alive(); err != nil {
		return nil, err
	}
	b, err := t.decideBatch(ctx, req.Heartbeats)
	if err != nil {
		return nil, err
	}
	t.reportLost(b.lost)
	b.store = storeWait{t: t}
	// One Confirm serves all heartbeats that the rules refused.
	if b.ruled {
		b.unconfirmed = b.store.confirm(ctx)
	}
	if err := b.endSilence(ctx); err != nil {
		return nil, err
	}
	for i := range b.items {
		if err := t.settleItem(ctx, b, i); err != nil {
			return nil, err
		}
	}
	if len(b.items) > batchTurn {
		turn := t.s.turn(ctx)
		if err := turn.take(ctx); err != nil {
			return nil, err
		}
		defer turn.made()
	}
	return &cirrusv1.HeartbeatBatchResponse{Results: b.results}, nil
}

// decideBatch asks the rules about all heartbeats of a batch. A large batch needs a
// turn: a few senders of such batches must not occupy all processors (S14).
func (t *term) decideBatch(ctx context.Context, reqs []*cirrusv1.HeartbeatRequest) (*batch, error) {
	turn := t.s.turn(ctx)
	if len(reqs) > batchTurn {
		if err := turn.take(ctx); err != nil {
			return nil, err
		}
	}
	defer turn.end() // what follows may wait for the store
	b := readBatch(reqs)
	for from := 0; from < len(b.items); from += batchTurn {
		t.heartbeats(b, from, min(from+batchTurn, len(b.items)))
		if len(reqs) > batchTurn {
			runtime.Gosched() // so that a single heartbeat is answered first
		}
	}
	return b, nil
}

// batchTurn is how many heartbeats of a batch are decided under one hold of the
// lock: nobody else gets an answer meanwhile.
const batchTurn = 64

// recordsTogether is how many records every store takes in one commit.
const recordsTogether = 128

// endSilence removes silence notes (S5) in as few commits as the store allows: after
// an outage a whole fleet returns at once. The rules are then asked again about
// these heartbeats (settleItem). If the store takes too long, the other heartbeats of
// the batch are still answered.
func (b *batch) endSilence(ctx context.Context) error {
	var writes []*fencing.Write
	for some := range slices.Chunk(b.silent, recordsTogether) {
		writes = append(writes, fencing.Join(some))
	}
	err := b.store.write(ctx, writes...)
	if reasonOf(err) == reasonStoreSlow {
		return nil // each of these heartbeats is answered so by itself
	}
	return err
}

// batch is a HeartbeatBatch in progress. Its answer is allocated at once, since it
// has hundreds of small parts.
type batch struct {
	reqs    []*cirrusv1.HeartbeatRequest
	refs    []fencing.LeaseRef
	items   []batchItem
	results []*cirrusv1.HeartbeatResult
	// terms are those of the previous lease, and of most others, too.
	terms *leaseTerms
	of    fencing.Lease
	// ruled: the rules refused a heartbeat; unconfirmed is why that can't be
	// answered, or nil.
	ruled       bool
	unconfirmed error
	// lost are the lost writes that the refusals show (S12).
	lost lostWrites
	// silent are the writes that remove silence notes (S5).
	silent []*fencing.Write
	// store is shared by all heartbeats, so they have one timeout together.
	store storeWait
}

// batchItem is the answer to a heartbeat of a batch.
type batchItem struct {
	refused *fencing.Refusal
	ruled   bool // the rules refused, not the check of the fields
	wait    fencing.Wait
	result  cirrusv1.HeartbeatResult
	good    cirrusv1.HeartbeatResult_Lease
	lease   cirrusv1.Lease
}

func readBatch(reqs []*cirrusv1.HeartbeatRequest) *batch {
	b := &batch{
		reqs: reqs, refs: make([]fencing.LeaseRef, len(reqs)),
		items: make([]batchItem, len(reqs)), results: make([]*cirrusv1.HeartbeatResult, len(reqs)),
	}
	for i, req := range reqs {
		it := &b.items[i]
		b.refs[i], it.refused = leaseRef(req.GetPool(), req.GetNodeId(), req.GetEpoch(),
			req.GetInstanceId())
		b.results[i] = &it.result
	}
	return b
}

// heartbeats asks the rules about some heartbeats, with one reading of the clocks.
func (t *term) heartbeats(b *batch, from, to int) {
	now := t.enter()
	defer t.leave()
	for i := from; i < to; i++ {
		it := &b.items[i]
		if it.refused != nil {
			continue
		}
		var d fencing.Decision
		d, it.refused = t.core.Heartbeat(now, b.refs[i])
		it.wait = d.Wait
		switch {
		case it.refused != nil:
			it.ruled, b.ruled = true, true
			b.lost.add(lostBy(it.refused))
		case d.Write != nil:
			it.wait = fencing.WaitKey
			b.silent = append(b.silent, d.Write)
		case it.wait == fencing.WaitNone:
			b.keep(i, d.Lease)
		}
	}
}

// keep puts a lease into the answer.
func (b *batch) keep(i int, l fencing.Lease) {
	if b.terms == nil || b.of.TTL != l.TTL || b.of.Layout != l.Layout {
		b.of, b.terms = l, &leaseTerms{}
		b.terms.set(l)
	}
	it := &b.items[i]
	fillLease(&it.lease, l, b.reqs[i].GetInstanceId(), b.terms)
	it.good.Lease = &it.lease
	it.result.Result = &it.good
}

// settleItem completes the answer to one heartbeat: it confirms a refusal, and asks
// the rules again where they wait. An error ends the whole batch.
func (t *term) settleItem(ctx context.Context, b *batch, i int) error {
	it := &b.items[i]
	var err error
	switch {
	case it.ruled:
		err = t.ruling(it.refused, b.unconfirmed)
	case it.refused != nil:
		err = it.refused
	case it.wait != fencing.WaitNone:
		if it.good.Lease, err = t.heartbeat(ctx, b.reqs[i], &b.store); err == nil {
			it.result.Result = &it.good
		}
	default:
		t.s.metrics.heartbeat(fencing.PoolName(it.lease.Pool))
	}
	switch {
	case err == nil:
		return nil
	case endsBatch(err):
		return err
	}
	it.result.Result = &cirrusv1.HeartbeatResult_Error{Error: t.s.batchError(err)}
	return nil
}

// endsBatch reports whether an error would be the answer to every heartbeat of a
// batch: the caller is gone, the service or the term ends, or the store has failed.
func endsBatch(err error) bool {
	var r *fencing.Refusal
	if !errors.As(err, &r) {
		return err != nil
	}
	return r.Reason == reasonStopping || r.Reason == reasonNotLeader ||
		r.Reason == fencing.ReasonStoreFailed
}
