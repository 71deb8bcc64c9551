package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// directory is a place for a store on one machine.
type directory struct {
	dir  string
	opts pebble.Options
}

func (d directory) String() string { return d.dir }

func (d directory) serveWith() string { return "--data " + d.dir }

func (d directory) admits([]fencing.Pool) error { return nil }

func (d directory) create(_ context.Context, b fencing.Batch) error {
	return pebble.Create(d.dir, *b.Meta, b.Pools, d.opts)
}

func (d directory) toRecover(_ context.Context, movedAway bool) (offline, error) {
	open := pebble.OpenToRecover
	if movedAway {
		open = pebble.OpenMoved
	}
	st, err := open(d.dir, d.opts)
	switch {
	case err != nil:
		return nil, err // and not a nil *Store in the interface
	case movedAway:
		return movedDirectory{st}, nil
	}
	return st, nil
}

// movedDirectory is a store that was moved away from its directory.
type movedDirectory struct{ *pebble.Store }

func (d movedDirectory) Commit(ctx context.Context, b fencing.Batch) error {
	return d.TakeBack(ctx, b)
}

func (d directory) end() (end, error) {
	path, err := filepath.Abs(d.dir)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	return &pebbleEnd{directory: d, title: fmt.Sprintf("%s on %s", path, host)}, err
}

// pebbleEnd is a directory as one end of a migration.
type pebbleEnd struct {
	directory
	title string
	open  *pebble.Store // nil: it isn't
}

func (e *pebbleEnd) name() string { return e.title }

// Load opens the store, too, for as long as the migration takes.
func (e *pebbleEnd) Load(ctx context.Context) (fencing.Snapshot, error) {
	st, err := pebble.Open(e.dir, e.opts)
	if err != nil {
		return fencing.Snapshot{}, err
	}
	e.open = st
	return st.Load(ctx)
}

func (e *pebbleEnd) Commit(ctx context.Context, b fencing.Batch) error { return e.open.Commit(ctx, b) }

func (e *pebbleEnd) Retire(ctx context.Context, m store.Move) error { return e.open.Retire(ctx, m) }

func (e *pebbleEnd) Admits(pools []fencing.Pool) error { return e.admits(pools) }

func (e *pebbleEnd) Receive(_ context.Context, m store.Move, b fencing.Batch) error {
	return pebble.Receive(e.dir, m, b, e.opts)
}

func (e *pebbleEnd) Finish(_ context.Context, m store.Move) error {
	return pebble.Finish(e.dir, m, e.opts)
}

func (e *pebbleEnd) Close() error {
	if e.open == nil {
		return nil
	}
	return e.open.Close()
}
