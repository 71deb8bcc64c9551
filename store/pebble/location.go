package pebble

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

var _ store.Location = (*Location)(nil)

// Location is a directory that holds a store, or is to hold one.
type Location struct {
	Dir     string
	Options Options
	// Name tells the directory from those of all hosts.
	Name string
}

// NewLocation returns the location of the directory. It errs if the directory's
// absolute path or the name of the host can't be found out.
func NewLocation(dir string, opts Options) (*Location, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("the absolute path of %s can't be found out: %w", dir, err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("the name of this host can't be found out: %w", err)
	}
	return &Location{Dir: dir, Options: opts, Name: path + " on " + host}, nil
}

// String implements store.Location.
func (l *Location) String() string { return l.Name }

// Admits implements store.Location: one process serves any pools.
func (l *Location) Admits([]fencing.Pool) error { return nil }

// Create implements store.Location.
func (l *Location) Create(_ context.Context, first fencing.Batch) error {
	return Create(l.Dir, *first.Meta, first.Pools, l.Options)
}

// Open implements store.Location.
func (l *Location) Open(_ context.Context, w store.Work) (store.Offline, error) {
	open := Open
	switch w {
	case store.Recovery:
		open = OpenToRecover
	case store.TakingBack:
		open = OpenMoved
	}
	s, err := open(l.Dir, l.Options)
	if err != nil {
		return nil, err // and not a nil *Store in the interface
	}
	return s, nil
}

// Receive implements store.Location.
func (l *Location) Receive(_ context.Context, m store.Move, b fencing.Batch) error {
	return Receive(l.Dir, m, b, l.Options)
}

// Finish implements store.Location.
func (l *Location) Finish(_ context.Context, m store.Move) error {
	return Finish(l.Dir, m, l.Options)
}
