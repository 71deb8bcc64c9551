package store

import (
	"context"

	"github.com/cirrus-id/cirrus/fencing"
)

// Location is where a store is, or is to be. The commands that work on a store
// while nobody serves it use it; what serves a store opens it without a Location.
type Location interface {
	// String names the location, so that it is told from all others.
	String() string
	// Admits returns an error if the pools can't be served at the location. It
	// looks at the pools alone.
	Admits(pools []fencing.Pool) error
	// Create makes a store with the batch in it. The error wraps ErrExists if
	// there is one, and ErrNotEmpty if there is something else.
	Create(ctx context.Context, first fencing.Batch) error
	// Open opens the store for the work and sees that nobody serves it meanwhile.
	// The error wraps ErrNoStore if there is none. For a Migration, Open or Load
	// errs with a *MovedError if the store was moved away.
	Open(ctx context.Context, w Work) (Offline, error)
	// Receive writes the store that the move brings, durably, with a note that
	// keeps everybody from serving it. The location must be empty, but for what
	// an unfinished move of the same store left there. After an error there is
	// that, or a part of the new store with its note, or nothing.
	Receive(ctx context.Context, m Move, b fencing.Batch) error
	// Finish deletes the note of this move, durably. The error wraps ErrExists or
	// ErrNoStore if there is no note.
	Finish(ctx context.Context, m Move) error
}

// Work is what a store is opened for while nobody serves it.
type Work string

// The works.
const (
	// Recovery makes a store safe to serve that was restored from a copy.
	Recovery Work = "recover"
	// TakingBack is a Recovery of a store that was moved away: the first Commit
	// deletes the note of that.
	TakingBack Work = "take back"
	// Migration moves the store to another location.
	Migration Work = "migrate"
)

// Offline is a store that was opened for a Work.
type Offline interface {
	// Load returns all that the store holds.
	Load(ctx context.Context) (fencing.Snapshot, error)
	// Commit makes a batch of any size durable. A batch that can't be written in
	// one step is preceded by a note: after a crash, only the same work goes on.
	Commit(ctx context.Context, b fencing.Batch) error
	// Retire notes, durably, that the move takes the store to another location.
	// After an error the note may be there or not.
	Retire(ctx context.Context, m Move) error
	Close() error
}
