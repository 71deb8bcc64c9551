package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// Load implements store.Store.
func (s *Store) Load(ctx context.Context) (fencing.Snapshot, error) {
	if err := s.enter(); err != nil {
		return fencing.Snapshot{}, err
	}
	defer s.mu.RUnlock()
	snap, err := s.load(ctx)
	if err != nil {
		return fencing.Snapshot{}, fmt.Errorf("%s: %w", s.failure.dir, err)
	}
	return s.high.lift(snap), nil
}

// load reads the records twice. Counting them first costs a fraction of the time and
// memory that a growing slice of a million records would.
func (s *Store) load(ctx context.Context) (fencing.Snapshot, error) {
	var d store.Decoder
	records := 0
	err := s.each(ctx, store.RecordsFrom(), store.RecordsTo(), func(*pebble.Iterator) error {
		records++
		return nil
	})
	if err != nil {
		return fencing.Snapshot{}, err
	}
	d.Grow(records)
	err = s.each(ctx, nil, nil, func(it *pebble.Iterator) error {
		if s.moved && bytes.Equal(it.Key(), store.NoteKey()) {
			return nil // OpenMoved has checked it
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		return d.Add(it.Key(), value)
	})
	if err != nil {
		return fencing.Snapshot{}, err
	}
	return d.Snapshot()
}

// each visits the keys from from up to, but without, to, in order; nil is no bound.
func (s *Store) each(ctx context.Context, from, to []byte,
	visit func(*pebble.Iterator) error) error {
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return err
	}
	const checkEvery = 4096 // keys between checks of ctx
	n := 0
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if err = visit(it); err == nil && n%checkEvery == 0 {
			err = ctx.Err()
		}
		n++
	}
	return errors.Join(err, it.Close()) // Close returns the iterator's error
}
