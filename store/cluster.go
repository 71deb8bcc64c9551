package store

import (
	"context"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// Cluster is a store that several replicas share, and the election among them. The
// election decides which replica tries to lead. Whether it may write and make promises
// rests on its term and on the mark alone (S10).
type Cluster interface {
	// Campaign waits until this replica is elected, or ctx ends. It retries after any
	// other error, since the store may not be reachable yet.
	Campaign(ctx context.Context) (Leadership, error)
	// Leader returns the leader that this replica knows of, or the zero Member. The
	// channel is closed when that changes.
	Leader() (Member, <-chan struct{})
	// Self returns this replica.
	Self() Member
	// ID returns a name that no other store has, so that a forwarded request is not
	// answered from another store. It is "" before the store's first answer. Once a
	// leader is known, there was one.
	ID() string
	// SessionTTL returns how long the other replicas wait for a silent leader.
	SessionTTL() time.Duration
}

// Member is a replica, as the other replicas know it.
type Member struct {
	// ID is different for each process.
	ID string
	// Address is the base URL at which the other replicas reach it.
	Address string
}

// Leadership is what an elected replica gets: the right to try to lead.
type Leadership interface {
	// TakeOver begins a term with one transaction, which writes a term record that
	// nobody wrote before. From then on no earlier term can write. It may be called
	// again, for another term, until Lost is closed. After an error the term may have
	// begun or not.
	TakeOver(ctx context.Context) (Term, error)
	// Lost is closed once another replica may have been elected.
	Lost() <-chan struct{}
	// Resign lets another replica be elected at once.
	Resign(ctx context.Context) error
}

// Term is a store in one term. Once another term has begun, it commits nothing and
// Confirm fails. Load returns what was written before the term began, and what the
// term has written.
type Term interface {
	Store
	// Create writes the first batch of a store, if Load has found none. It errs with
	// ErrExists, and writes nothing, if there is a store by now.
	Create(ctx context.Context, b fencing.Batch) error
}
