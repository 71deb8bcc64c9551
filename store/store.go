// Package store defines what must survive a crash: the contract of a store, and the
// keys and values that all stores share. It must not decide anything, know what a grant
// is, or read a clock. It returns an error for what it can't read, and repairs nothing.
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
	// Load returns all that was acknowledged, and each batch that was not either whole
	// or not at all. Pools are in the order of their names, records in that of pool and
	// node ID. Load is for a start or a takeover: during a Commit it may return what is
	// not durable yet. It errs with ErrDamaged or ErrNewerFormat rather than leave
	// anything out.
	Load(ctx context.Context) (fencing.Snapshot, error)
	// Commit makes the batch durable, all or nothing. After nil it is durable. After an
	// error it may be durable or not, and this process may no longer rely on what it
	// has in memory (S9). Commits may overlap. The caller must see to it that a key has
	// at most one write in flight (S1), and that a record's pool is in the store or in
	// the batch. Commit errs, and writes nothing, if the batch has a value that Load
	// would refuse or a key twice; it may do so if the batch has more than 128 keys. It
	// writes nothing for an empty batch.
	Commit(ctx context.Context, b fencing.Batch) error
	// Confirm returns nil if this process is still the one that may answer requests.
	Confirm(ctx context.Context) error
}

// What can be wrong with a store. An error that wraps one of these says what is wrong,
// where, and what to do.
var (
	// ErrNoStore: there is no store. It wraps fs.ErrNotExist.
	ErrNoStore = fmt.Errorf("no Cirrus store (%w)", fs.ErrNotExist)
	// ErrExists: there is a store already. It wraps fs.ErrExist.
	ErrExists = fmt.Errorf("a Cirrus store already (%w)", fs.ErrExist)
	// ErrNotEmpty: there are foreign keys where the store is or was to be.
	ErrNotEmpty = errors.New("keys that are no Cirrus store")
	// ErrDeposed: another term has begun, so this one may neither write nor answer
	// (S10).
	ErrDeposed = errors.New("another term has begun")
	// ErrNewerFormat: a newer version of Cirrus wrote the store.
	ErrNewerFormat = errors.New("the store's format is too new")
	// ErrDamaged: the store holds what no version of Cirrus writes, or lacks what
	// every version writes.
	ErrDamaged = errors.New("the store is damaged")
	// ErrLostWrites: the store lacks writes that it has acknowledged (S13), and has to be
	// recovered.
	ErrLostWrites = errors.New("the store has lost writes that it had acknowledged")
	// ErrClosed: the store was closed before the call.
	ErrClosed = errors.New("the store is closed")
)
