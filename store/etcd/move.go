package etcd

import (
	"context"
	"fmt"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// Receive writes a store that the move brings here, however large, and makes it
// durable. Nobody serves it before Finish. The prefix must be empty, but for what
// an unfinished migration of the same store left behind; that is deleted.
func (o *Offline) Receive(ctx context.Context, m store.Move, b fencing.Batch) error {
	if err := o.enter(ctx); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	defer o.cluster.gate.leave()
	ops, err := o.encode(b)
	if err != nil {
		return err
	}
	left, err := o.room(ctx, m)
	if err != nil {
		return err
	}
	wanted := make(map[string]bool, len(ops))
	for _, op := range ops {
		wanted[op.Key] = true
	}
	all := []Op{o.put(m.Arriving())} // before anything else is there
	for _, key := range left {
		if !wanted[key] {
			all = append(all, Op{Key: key, Delete: true})
		}
	}
	return o.sendAll(ctx, append(all, ops...))
}

// Finish makes what Receive wrote for the move a store like any other. It errs
// with store.ErrExists if it is one already, or if another one is here, and with
// store.ErrNoStore if nothing is.
func (o *Offline) Finish(ctx context.Context, m store.Move) error {
	if err := o.enter(ctx); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	defer o.cluster.gate.leave()
	// What was read stays: nobody else writes while this term lasts.
	page, err := o.cluster.kv.Range(ctx, Range{For: ForOffline, From: o.keys.note})
	if err != nil {
		return fmt.Errorf("the store can't be read: %w", err)
	}
	if len(page.Keys) == 0 {
		if err := o.cluster.noStore(ctx); err != nil {
			return err
		}
		return errNoStore(o.keys)
	}
	note := store.Note(page.Keys[0].Value)
	if here, ok := note.Arriving(); !ok || here.ID != m.ID {
		return refusal(note, o.keys)
	}
	return o.send(ctx, []Op{{Key: o.keys.note, Delete: true}})
}

// Retire leaves word that the move takes the store to another place: nobody
// serves it here any more.
func (o *Offline) Retire(ctx context.Context, m store.Move) error {
	if err := o.enter(ctx); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	defer o.cluster.gate.leave()
	return o.send(ctx, []Op{o.put(m.Moved())})
}
