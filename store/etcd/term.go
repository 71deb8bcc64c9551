package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

var _ store.Term = (*Term)(nil)

// Term is a store in one term.
type Term struct {
	cluster *Cluster
	keys    keys
	guard   Compare // holds while no other term has begun
	queue   *queue
	work    store.Work // what it was begun for; "" for a leader's

	mu  sync.Mutex
	why error // why the term has ended; nil while it lasts
}

func newTermOf(c *Cluster, value []byte) *Term {
	t := &Term{cluster: c, keys: c.keys, guard: Compare{Key: c.keys.term, Value: value}}
	t.queue = newQueue(c.opts.Wait, t.transact)
	return t
}

// Commit implements store.Store. It can't be cancelled once it has started (S9). The
// first error of a write ends the term.
func (t *Term) Commit(ctx context.Context, b fencing.Batch) error {
	return t.write(ctx, b, false)
}

// Create implements store.Term.
func (t *Term) Create(ctx context.Context, b fencing.Batch) error {
	if err := t.enter(ctx); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	// While our term record is there, nobody makes a store around it.
	_, err := t.cluster.notInsideAnother(ctx, ForCreate)
	t.cluster.gate.leave()
	if err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	return t.write(ctx, b, true)
}

func (t *Term) write(ctx context.Context, b fencing.Batch, create bool) error {
	if err := t.enter(ctx); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	defer t.cluster.gate.leave()
	ops, err := t.encode(b)
	if err != nil || len(ops) == 0 {
		return err
	}
	if len(ops) > MaxOps {
		return fmt.Errorf(
			"nothing was written: the batch has %d keys and a transaction of etcd's takes %d; this is a bug in Cirrus, report it", len(ops), MaxOps)
	}
	return t.queue.send(context.WithoutCancel(ctx), &commit{ops: ops, create: create})
}

// enter enters the gate, which the caller must leave, unless the term has ended.
func (t *Term) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.cluster.gate.enter(); err != nil {
		return err
	}
	if err := t.err(); err != nil {
		t.cluster.gate.leave()
		return err
	}
	return nil
}

func (t *Term) encode(b fencing.Batch) ([]Op, error) {
	ops := make([]Op, 0, 1+len(b.Pools)+len(b.Records))
	err := store.Encode(b, func(key, value []byte) error {
		ops = append(ops, Op{Key: t.keys.prefix + string(key),
			Value: append([]byte(nil), value...)})
		return nil
	})
	return ops, err
}

// transact does the writes if the term lasts. If it doesn't, or if that is unknown,
// transact ends the term. A term writes nowhere else, and sends each write once: see
// the package's comment.
func (t *Term) transact(ctx context.Context, ops []Op, create bool) error {
	if err := t.err(); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	answered := false
	defer func() {
		if !answered { // it panicked
			_ = t.end(errUnanswered)
		}
	}()
	txn := Txn{For: ForCommit, If: []Compare{t.guard}, Ops: ops}
	if create {
		txn.For = ForCreate
		txn.If = append(txn.If, t.keys.nothing()...)
	}
	done, err := t.cluster.kv.Txn(ctx, txn)
	answered = true
	switch {
	case err != nil:
		return t.end(fmt.Errorf("it is unknown whether a write was done: %w", err))
	case done:
		return nil
	case create:
		return t.notCreated(ctx)
	}
	return t.end(errDeposed)
}

// notCreated returns why a Create was not done: which of the comparisons did not hold.
// If the term lasts now, it did then.
func (t *Term) notCreated(ctx context.Context) error {
	if err := t.confirm(ctx); err != nil {
		return err
	}
	if err := t.cluster.vacant(ctx, ForCreate); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	return errors.New(
		"nothing was written, since there were foreign keys, which are gone now: try again")
}

// Confirm implements store.Store. It reads the term record as it is at some instant
// after the call.
func (t *Term) Confirm(ctx context.Context) error {
	if err := t.enter(ctx); err != nil {
		return err
	}
	defer t.cluster.gate.leave()
	return t.confirm(ctx)
}

// confirm ends the term if another has begun. A failed read does not end it, since the
// term may still last.
func (t *Term) confirm(ctx context.Context) error {
	page, err := t.cluster.kv.Range(ctx, Range{For: ForConfirm, From: t.keys.term})
	if err != nil {
		return fmt.Errorf("it is unknown whether another term has begun: %w", err)
	}
	if !t.ours(page.Keys) {
		return t.end(errDeposed)
	}
	return t.err() // a write may have failed meanwhile
}

// ours reports whether the term record is among the keys and has this term's value.
func (t *Term) ours(keys []KeyValue) bool {
	for _, kv := range keys {
		if kv.Key == t.keys.term {
			return string(kv.Value) == string(t.guard.Value)
		}
	}
	return false
}

// end ends the term for that reason, and returns the reason. If the term has ended, the
// first reason stays.
func (t *Term) end(why error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.why == nil {
		t.why = why
	}
	return why
}

// err returns an error if the term has ended.
func (t *Term) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.why == nil {
		return nil
	}
	return fmt.Errorf("this term has ended, begin another: %w", t.why)
}
