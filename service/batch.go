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

// HeartbeatBatch keeps many leases; each is answered for itself.
func (h leases) HeartbeatBatch(ctx context.Context, req *cirrusv1.HeartbeatBatchRequest) (*cirrusv1.HeartbeatBatchResponse, error) {
	return rpcHeartbeatBatch.do(ctx, h.s, req)
}

var rpcHeartbeatBatch = rpc[cirrusv1.HeartbeatBatchRequest, cirrusv1.HeartbeatBatchResponse]{
	here:  (*term).answerBatch,
	there: (*peer).heartbeatBatch,
}

func (t *term) answerBatch(ctx context.Context, req *cirrusv1.HeartbeatBatchRequest) (*cirrusv1.HeartbeatBatchResponse, error) {
	if n := len(req.Heartbeats); n > MaxBatch {
		return nil, t.s.refusal(badField("heartbeats", fmt.Sprintf("%d are too many: send at most %d at once", n, MaxBatch)))
	}
	if err := t.alive(); err != nil {
		return nil, err
	}
	b, err := t.decideBatch(ctx, req.Heartbeats)
	if err != nil {
		return nil, err
	}
	t.noticeLost(b.lost)
	b.waits = writeWait{t: t}
	// One look at the term record serves all that the rules refused.
	if b.ruled {
		b.unsure = b.waits.confirm(ctx)
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

// decideBatch decides on all heartbeats of a batch. A large one needs a turn: a
// few senders of such batches must not have all processors (S14).
func (t *term) decideBatch(ctx context.Context, reqs []*cirrusv1.HeartbeatRequest) (*batch, error) {
	turn := t.s.turn(ctx)
	if len(reqs) > batchTurn {
		if err := turn.take(ctx); err != nil {
			return nil, err
		}
	}
	defer turn.end() // what follows may wait
	b := readBatch(reqs)
	for from := 0; from < len(b.items); from += batchTurn {
		t.heartbeats(b, from, min(from+batchTurn, len(b.items)))
		if len(reqs) > batchTurn {
			runtime.Gosched() // so that a lone heartbeat goes first
		}
	}
	return b, nil
}

// batchTurn is how many heartbeats of a batch are decided on at once: while the
// core is taken, nobody else gets an answer.
const batchTurn = 64

// recordsTogether is how many records one commit takes in every store.
const recordsTogether = 128

// endSilence takes silence notes away (S5), in as few commits as the store
// takes them: a fleet that was away comes back at once. Then the heartbeats are
// decided on again. A store that takes too long holds up no others.
func (b *batch) endSilence(ctx context.Context) error {
	var writes []*fencing.Write
	for some := range slices.Chunk(b.heard, recordsTogether) {
		writes = append(writes, fencing.Join(some))
	}
	err := b.waits.write(ctx, writes...)
	if reasonOf(err) == reasonStoreSlow {
		return nil // their own heartbeats are told so
	}
	return err
}

// batch is a HeartbeatBatch on its way. What it is answered with is allocated
// at once, since there are hundreds of small parts.
type batch struct {
	reqs    []*cirrusv1.HeartbeatRequest
	refs    []fencing.LeaseRef
	items   []batchItem
	results []*cirrusv1.HeartbeatResult
	// terms are those of the lease before, and of most others, too.
	terms *leaseTerms
	of    fencing.Lease
	// ruled: the rules refused a heartbeat; unsure is why it can't be told.
	ruled  bool
	unsure error
	// lost are the lost writes that its refusals show (S12).
	lost lostWrites
	// heard are the writes that some of its leases need before an answer.
	heard []*fencing.Write
	// waits are of all its heartbeats together.
	waits writeWait
}

// batchItem is the answer to a heartbeat of a batch.
type batchItem struct {
	refused *fencing.Refusal
	ruled   bool // it was the rules that refused
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
		b.refs[i], it.refused = leaseRef(req.GetPool(), req.GetNodeId(), req.GetEpoch(), req.GetInstanceId())
		b.results[i] = &it.result
	}
	return b
}

// heartbeats decides on some heartbeats by one reading of the clocks.
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
			b.heard = append(b.heard, d.Write)
		case it.wait == fencing.WaitNone:
			b.keep(i, d.Lease)
		}
	}
}

// keep makes a lease the answer.
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

// settleItem ends what heartbeats could not, and counts. An error is one that
// ends the batch.
func (t *term) settleItem(ctx context.Context, b *batch, i int) error {
	it := &b.items[i]
	var err error
	switch {
	case it.ruled:
		err = t.ruling(it.refused, b.unsure)
	case it.refused != nil:
		err = t.s.refusal(it.refused)
	case it.wait != fencing.WaitNone:
		if it.good.Lease, err = t.heartbeat(ctx, b.reqs[i], &b.waits); err == nil {
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
	it.result.Result = &cirrusv1.HeartbeatResult_Error{Error: batchError(err)}
	return nil
}

// endsBatch says whether an error is one that no heartbeat of a batch would be
// spared: the caller is gone, or the service or the term ends, or the store has
// failed.
func endsBatch(err error) bool {
	var r *fencing.Refusal
	if !errors.As(err, &r) {
		return err != nil
	}
	return r.Reason == reasonStopping || r.Reason == reasonNotLeader || r.Reason == fencing.ReasonStoreFailed
}
