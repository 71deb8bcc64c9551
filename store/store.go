// Package store says what Cirrus must not forget, and nothing else: the
// contract of a store, and the keys and values that all stores share. It must
// not decide anything: it neither knows what a grant is nor reads a clock, and
// what it can't read it refuses instead of repairing it.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cirrus-id/cirrus/fencing"
)

// Store keeps what must survive.
type Store interface {
	// Load returns all that was ever acknowledged, and of what was not, each
	// batch whole or not at all; pools by name, records by pool and node ID.
	// It is for a start or a takeover: beside a Commit it may show what is
	// not durable yet. It errs with ErrDamaged or ErrNewerFormat rather than
	// leave anything out.
	Load(ctx context.Context) (fencing.Snapshot, error)
	// Commit makes the batch durable, all or nothing. nil means that it is;
	// an error means that it may or may not be, and that this process may no
	// longer trust what it knows (S9). Commits may overlap, but a key has at
	// most one under way (S1), and a record's pool is in the store or in the batch:
	// these are the caller's duty. A value that Load would refuse and a key
	// that is in the batch twice are refused, with nothing written, as may be a
	// batch of more than 128 keys. An empty batch is nothing to write.
	Commit(ctx context.Context, b fencing.Batch) error
	// Confirm returns nil if this process is still the one that may answer.
	Confirm(ctx context.Context) error
}

// What can be wrong with a store itself. The errors that wrap these say in a
// sentence what is wrong, where, and what to do.
var (
	// ErrNoStore: there is none; errors.Is knows it as fs.ErrNotExist, too.
	ErrNoStore = fmt.Errorf("no Cirrus store (%w)", fs.ErrNotExist)
	// ErrExists: there is one already; fs.ErrExist, too.
	ErrExists = fmt.Errorf("a Cirrus store already (%w)", fs.ErrExist)
	// ErrNotEmpty: where the store is or was to be, there are somebody else's keys.
	ErrNotEmpty = errors.New("keys that are no Cirrus store")
	// ErrDeposed: another term has begun since, so this one may neither write
	// nor answer (S10).
	ErrDeposed = errors.New("another term has begun")
	// ErrNewerFormat: a newer version of Cirrus wrote the store.
	ErrNewerFormat = errors.New("the store's format is too new")
	// ErrDamaged: the store holds what no version of Cirrus wrote, or lacks
	// what every one writes.
	ErrDamaged = errors.New("the store is damaged")
	// ErrLostWrites: the store lacks what it has acknowledged (S13). It is to be
	// recovered.
	ErrLostWrites = errors.New("the store has lost writes that it had acknowledged")
	// ErrClosed: the store was closed before the call.
	ErrClosed = errors.New("the store is closed")
)
