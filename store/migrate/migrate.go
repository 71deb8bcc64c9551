// Package migrate moves a store from one location to another, with every promise
// kept. It must not serve anything, and decides nothing about what it moves.
//
// # Why the promises hold
//
// The meta, the pools and the records stay as they are: mark, stride, first epoch,
// creation time, whether it was vouched for, whether a pool was opened. The process
// that serves them at the new location starts as at every start and takeover, and
// the rules ask for no more than that:
//
//   - Nobody makes promises at the old location any more. A process that serves a
//     directory holds its lock, and then the migration doesn't start. In etcd the
//     migration begins a term. A leader that was cut off and doesn't know that
//     writes nothing from then on. It makes no promise later than a stride after
//     its last mark write, and that write was earlier (S10). S6 waits that out.
//   - At the new location every live record gets the deadline now + stride + TTL,
//     where now is that server's own steady clock, read after loading (S6). That is
//     later than any promise, because the promises were earlier. The steady clocks
//     of the two locations are unrelated, and no reading of one reaches the other.
//   - No ceiling above mark + TTL was ever promised, and the mark is the same. So
//     the next floor is above every ceiling, whatever the wall clock says there:
//     server time starts at mark − stride or later (S8), and a node ID is granted
//     only once server time has passed its last ceiling (S2).
//   - New epochs are above those of all records (S2), since all records are there.
//   - A pool that was not opened waits for its whole suspicion, from the first start
//     at the new location (S7).
//
// # What a crash leaves
//
// First the whole store is written at the new location, with a note that keeps
// everybody from serving it. Then the old one gets a note that it was moved. Then the
// first note is deleted. Each step is durable before the next one starts, and each is
// one write of the store's. So at every instant at most one of the two can be served,
// and one of them holds everything. Between the last two steps neither can be served:
// Run, called again, does the last step.
//
// An unfinished migration is told from another store by the store's ID, which every
// store has and which moves with it. So a migration can go on from another host, under
// other paths.
//
// A store that was moved is never copied again, whatever becomes of the new location:
// what the old one holds is out of date from the first write at the new one.
package migrate

import (
	"context"
	"errors"
	"fmt"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// Moved is what Run has done.
type Moved struct {
	// Before: an earlier Run had moved the store to this location. It may have
	// been interrupted before its last step.
	Before bool
	// Pools and Records are how many were moved; 0 if Before.
	Pools, Records int
}

// Run moves the store from one location to the other. id is the ID of this move,
// and storeID becomes the store's if it has none. After an error Run can be called
// again, with another id, and also if the locations have other names by then, as on
// another host.
func Run(ctx context.Context, from, to store.Location, id string, storeID fencing.StoreID) (_ Moved,
	err error) {
	m := store.Move{ID: id, Store: storeID, From: from.String(), To: to.String()}
	source, snap, err := open(ctx, from)
	var gone *store.MovedError
	if errors.As(err, &gone) {
		return Moved{Before: true}, finishEarlier(ctx, to, m, gone)
	}
	if err != nil {
		return Moved{}, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if err := to.Admits(snap.Pools); err != nil {
		return Moved{}, err
	}
	if m.Store, err = identify(ctx, source, &snap.Meta, storeID); err != nil {
		return Moved{}, notMoved(m, err)
	}
	done := Moved{Pools: len(snap.Pools), Records: len(snap.Records)}
	if err := to.Receive(ctx, m,
		fencing.Batch{Meta: &snap.Meta, Pools: snap.Pools, Records: snap.Records}); err != nil {
		return done, notMoved(m, err)
	}
	if err := source.Retire(ctx, m); err != nil {
		return done, store.WithHint(
			fmt.Errorf("it is unknown whether %s was moved, migrate once more: %w", m.From, err),
			store.HintMigrate, "")
	}
	return done, finish(ctx, to, m)
}

// open opens the store at the old location and loads it.
func open(ctx context.Context, from store.Location) (store.Offline, fencing.Snapshot, error) {
	source, err := from.Open(ctx, store.Migration)
	if err != nil {
		return nil, fencing.Snapshot{}, err
	}
	snap, err := source.Load(ctx)
	if err != nil {
		return nil, fencing.Snapshot{}, errors.Join(err, source.Close())
	}
	return source, snap, nil
}

// identify returns the store's ID. A store of an older version has none, and is
// given one, durably, before anything is written at the new location: the next Run
// has to find the same ID.
func identify(ctx context.Context, source store.Offline, meta *fencing.Meta,
	id fencing.StoreID) (fencing.StoreID, error) {
	if meta.ID == (fencing.StoreID{}) {
		meta.ID = id
		return id, source.Commit(ctx, fencing.Batch{Meta: meta})
	}
	return meta.ID, nil
}

func notMoved(m store.Move, err error) error {
	return fmt.Errorf("%s was not moved, and can be served as before: %w", m.From, err)
}

func finish(ctx context.Context, to store.Location, m store.Move) error {
	if err := to.Finish(ctx, m); err != nil {
		return store.WithHint(
			fmt.Errorf("all is in %s, but can't be served yet, migrate once more: %w", m.To, err),
			store.HintMigrate, "")
	}
	return nil
}

// finishEarlier does the last step of the earlier move that has retired the store.
// It does nothing if that was done, and errs if that move led to another location.
func finishEarlier(ctx context.Context, to store.Location, m store.Move,
	gone *store.MovedError) error {
	err := to.Finish(ctx, gone.Move)
	switch {
	case errors.Is(err, store.ErrExists) && gone.To == m.To:
		return nil
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrNoStore):
		return gone
	}
	return err
}
