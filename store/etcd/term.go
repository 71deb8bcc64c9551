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

// Term is a store as one term sees it.
type Term struct {
	cluster *Cluster
	keys    keys
	guard   Compare // holds while no other term has begun
	queue   *queue
	work    Work // what it is begun for; "" for a leader's

	mu   sync.Mutex
	over error // what ended the term; nil while it lasts
}

func newTermOf(c *Cluster, value []byte) *Term {
	t := &Term{cluster: c, keys: c.keys, guard: Compare{Key: c.keys.term, Value: value}}
	t.queue = newQueue(c.opts.Wait, t.transact)
	return t
}

// Commit implements store.Store. It can't be cancelled once it has begun (S9).
// With its first error the term is over.
func (t *Term) Commit(ctx context.Context, b fencing.Batch) error {
	return t.write(ctx, b, false)
}

// Create implements store.Term.
func (t *Term) Create(ctx context.Context, b fencing.Batch) error {
	if err := t.enter(ctx); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	// While our term record stands, nobody makes a store around it.
	_, err := t.cluster.alone(ctx, ForCreate)
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
		return fmt.Errorf("nothing was written: the batch has %d keys and a transaction of etcd's takes %d; this is a bug in Cirrus, report it", len(ops), MaxOps)
	}
	return t.queue.send(context.WithoutCancel(ctx), &commit{ops: ops, create: create})
}

// enter lets a caller in, who must leave the gate, unless the term is over.
func (t *Term) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.cluster.gate.enter(); err != nil {
		return err
	}
	if err := t.ended(); err != nil {
		t.cluster.gate.leave()
		return err
	}
	return nil
}

func (t *Term) encode(b fencing.Batch) ([]Op, error) {
	ops := make([]Op, 0, 1+len(b.Pools)+len(b.Records))
	err := store.Encode(b, func(key, value []byte) error {
		ops = append(ops, Op{Key: t.keys.prefix + string(key), Value: append([]byte(nil), value...)})
		return nil
	})
	return ops, err
}

// transact does the writes, if the term lasts; else, or if it can't tell, it
// ends the term. This is the only place where a term writes, and it does so
// once: see the package's comment.
func (t *Term) transact(ctx context.Context, ops []Op, create bool) error {
	if err := t.ended(); err != nil {
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

// notCreated finds out which of the comparisons did not hold. A term that lasts
// now has lasted before.
func (t *Term) notCreated(ctx context.Context) error {
	if err := t.confirm(ctx); err != nil {
		return err
	}
	if err := t.cluster.vacant(ctx, ForCreate); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	return errors.New("nothing was written, since there were keys in the way, which have gone: try again")
}

// Confirm implements store.Store: it reads the term record as it is at some
// instant after the call.
func (t *Term) Confirm(ctx context.Context) error {
	if err := t.enter(ctx); err != nil {
		return err
	}
	defer t.cluster.gate.leave()
	return t.confirm(ctx)
}

// confirm ends the term if another has begun. That it could not be read ends
// nothing: this term may well last.
func (t *Term) confirm(ctx context.Context) error {
	page, err := t.cluster.kv.Range(ctx, Range{For: ForConfirm, From: t.keys.term})
	if err != nil {
		return fmt.Errorf("it is unknown whether another term has begun: %w", err)
	}
	if !t.ours(page.Keys) {
		return t.end(errDeposed)
	}
	return t.ended() // a write may have failed meanwhile
}

// ours says whether the term record is among the keys, and says what this term
// wrote.
func (t *Term) ours(keys []KeyValue) bool {
	for _, kv := range keys {
		if kv.Key == t.keys.term {
			return string(kv.Value) == string(t.guard.Value)
		}
	}
	return false
}

// end ends the term for the reason given, and returns it; what ended it first
// stays.
func (t *Term) end(why error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over == nil {
		t.over = why
	}
	return why
}

// ended returns an error if the term is over.
func (t *Term) ended() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over == nil {
		return nil
	}
	return fmt.Errorf("this term is over, begin another: %w", t.over)
}
