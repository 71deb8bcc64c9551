// Package migrate takes a store from one place to another, with every promise
// kept. It must not serve anything, and decides nothing about what it takes.
//
// # What keeps the promises
//
// The meta, the pools and the records are taken as they are: mark, stride, first
// epoch, creation, whether it was vouched for, opened or not. What serves them
// at the new place starts as every start and takeover does, which is all that
// the rules ask for:
//
//   - Nobody promises any more at the old place. A process that serves a
//     directory has its lock, and then the migration doesn't begin. In etcd the
//     migration begins a term; a leader that is not heard of any more, and
//     doesn't know it, writes nothing from then on, and promises nothing a stride
//     after its last mark write (S10), which was before. S6 waits that out.
//   - Every live record gets the deadline now + stride + TTL at the new place, on
//     its own steady clock, read after loading (S6): later than whatever was
//     promised, because that was earlier. The steady clocks of the two places
//     have nothing to do with each other, and no reading of one reaches the other.
//   - No ceiling above mark + TTL was ever promised, and the mark is the same. So
//     the next floor is above it, whatever the wall clock says there: server time
//     starts at the mark less the stride or later (S8), and an ID is granted only
//     once it has passed the last ceiling (S2).
//   - Epochs go on above all records' (S2), since all are there.
//   - A pool that was not opened waits for its whole time, from the first start at
//     the new place (S7).
//
// # What a crash leaves
//
// The store is written whole at the new place, with a note that keeps everybody
// from serving it. Then the old one gets a note that it was moved. Then the first
// note is deleted. Each step is durable before the next begins, and each is one
// write of the store's. So at every instant at most one of the two can be served,
// and at every instant one of them holds everything. Between the two last steps
// neither can be served: Run, called again, does the last one.
//
// What is left of an unfinished migration is told from another store's by the ID
// of the store, which every store has, and which goes with it. So the migration
// can go on from another host, under other paths.
//
// A store that was moved is never copied again, whatever has become of the new
// place: what is left behind there is old from the first write at the new one.
package migrate

import (
	"context"
	"errors"
	"fmt"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// Source is the old place: a store that nobody else serves or changes until
// Retire has returned, or else Retire errs.
type Source interface {
	// Load returns all that the store holds. If it was moved, the error wraps a
	// *store.MovedError.
	Load(ctx context.Context) (fencing.Snapshot, error)
	// Commit makes the batch durable, all or nothing.
	Commit(ctx context.Context, b fencing.Batch) error
	// Retire leaves word, durably, that the move takes the store to another
	// place. An error means that it may have, or may not.
	Retire(ctx context.Context, m store.Move) error
}

// Target is the new place.
type Target interface {
	// Admits errs if the pools can't be served there. It writes nothing.
	Admits(pools []fencing.Pool) error
	// Receive writes the batch, durably, with a note that keeps everybody from
	// serving it. The place must be empty, but for what an unfinished move of the
	// same store left behind. An error leaves that, or nothing.
	Receive(ctx context.Context, m store.Move, b fencing.Batch) error
	// Finish deletes the note of this move, durably. It errs with
	// store.ErrExists or store.ErrNoStore where there is no note.
	Finish(ctx context.Context, m store.Move) error
}

// Moved is what Run has done.
type Moved struct {
	// Before: the store had been moved here by an earlier Run, which may have
	// been broken off at the end.
	Before bool
	// Pools and Records are how many were taken; 0 if Before.
	Pools, Records int
}

// Run takes the store from one place to the other. m.Store becomes the store's ID
// if it has none. After an error Run can be called again, with a move of another
// ID, also where the places have other names by then, as on another host.
func Run(ctx context.Context, from Source, to Target, m store.Move) (Moved, error) {
	snap, err := from.Load(ctx)
	var gone *store.MovedError
	if errors.As(err, &gone) {
		return Moved{Before: true}, finishBefore(ctx, to, m, gone)
	}
	if err != nil {
		return Moved{}, err
	}
	if err := to.Admits(snap.Pools); err != nil {
		return Moved{}, err
	}
	if m.Store, err = identify(ctx, from, &snap.Meta, m.Store); err != nil {
		return Moved{}, notMoved(m, err)
	}
	done := Moved{Pools: len(snap.Pools), Records: len(snap.Records)}
	if err := to.Receive(ctx, m, fencing.Batch{Meta: &snap.Meta, Pools: snap.Pools, Records: snap.Records}); err != nil {
		return done, notMoved(m, err)
	}
	if err := from.Retire(ctx, m); err != nil {
		return done, fmt.Errorf("it is unknown whether %s was moved, run the same \"cirrus migrate\" again: %w", m.From, err)
	}
	return done, finish(ctx, to, m)
}

// identify returns the store's ID. One that has none, from an older version, is
// given an ID, durably before anything is written at the new place: the next Run
// has to find the same.
func identify(ctx context.Context, from Source, meta *fencing.Meta, id fencing.StoreID) (fencing.StoreID, error) {
	if meta.ID == (fencing.StoreID{}) {
		meta.ID = id
		return id, from.Commit(ctx, fencing.Batch{Meta: meta})
	}
	return meta.ID, nil
}

func notMoved(m store.Move, err error) error {
	return fmt.Errorf("%s was not moved, and can be served as before: %w", m.From, err)
}

func finish(ctx context.Context, to Target, m store.Move) error {
	if err := to.Finish(ctx, m); err != nil {
		return fmt.Errorf("all is in %s, but can't be served yet, run the same \"cirrus migrate\" again: %w", m.To, err)
	}
	return nil
}

// finishBefore does the last step of the move that has retired the store, if it
// led to this place and was not done yet.
func finishBefore(ctx context.Context, to Target, m store.Move, gone *store.MovedError) error {
	err := to.Finish(ctx, gone.Move)
	switch {
	case errors.Is(err, store.ErrExists) && gone.To == m.To:
		return nil // it was done
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrNoStore):
		return gone
	}
	return err
}
