package etcd

import (
	"context"
	"fmt"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// Receive writes the store that the move brings, of any size, and makes it durable.
// Nobody can serve it before Finish. The prefix must be empty, but for what an
// unfinished migration of the same store has written; that is deleted.
func (o *Offline) Receive(ctx context.Context, m store.Move, b fencing.Batch) error {
	if err := o.enter(ctx); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	defer o.cluster.gate.leave()
	ops, err := o.encode(b)
	if err != nil {
		return err
	}
	leftover, err := o.vacantFor(ctx, m)
	if err != nil {
		return err
	}
	wanted := make(map[string]bool, len(ops))
	for _, op := range ops {
		wanted[op.Key] = true
	}
	all := []Op{o.putNote(m.Arriving())} // before anything else is written
	for _, key := range leftover {
		if !wanted[key] {
			all = append(all, Op{Key: key, Delete: true})
		}
	}
	return o.sendAll(ctx, append(all, ops...))
}

// Finish deletes the note of this move, so that the store can be served. It errs with
// store.ErrExists if there is a store without a note, and with store.ErrNoStore if
// there is none.
func (o *Offline) Finish(ctx context.Context, m store.Move) error {
	if err := o.enter(ctx); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	defer o.cluster.gate.leave()
	// What was read stays, since nobody else writes while this term lasts.
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

// Retire implements store.Offline.
func (o *Offline) Retire(ctx context.Context, m store.Move) error {
	if err := o.enter(ctx); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	defer o.cluster.gate.leave()
	return o.send(ctx, []Op{o.putNote(m.Moved())})
}
