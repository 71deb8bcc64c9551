package store

import (
	"context"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// Cluster is a store that several replicas reach, and the election among them.
// The election decides who tries, never who may: that a replica may write and
// promise rests on its term and on the mark alone (S10).
type Cluster interface {
	// Campaign waits until the election chooses this replica, or ctx ends. It
	// rides out what goes wrong meanwhile: the store may not be there yet.
	Campaign(ctx context.Context) (Leadership, error)
	// Leader is who leads, as far as this replica has heard: the zero Member
	// where it knows of nobody. The channel is closed when there is news.
	Leader() (Member, <-chan struct{})
	// Self is this replica.
	Self() Member
	// ID names this store among all others, so that a request that a replica
	// passes on is not answered from another store. It is "" until the store
	// has answered once, which it has where a leader is known.
	ID() string
	// SessionTTL is how long the others wait for a leader that has gone silent.
	SessionTTL() time.Duration
}

// Member is a replica, as the others see it.
type Member struct {
	// ID is unique among all processes that ever were.
	ID string
	// Address is the base URL at which the other replicas reach it.
	Address string
}

// Leadership is what a replica has that the election has chosen.
type Leadership interface {
	// TakeOver begins a term with one transaction, which writes a term record
	// that nobody wrote before. From then on no term before it can write. It
	// may be called again, for another term, as long as Lost is open;
	// an error means that the term may or may not have begun.
	TakeOver(ctx context.Context) (Term, error)
	// Lost is closed once the election may have chosen another.
	Lost() <-chan struct{}
	// Resign lets the election choose another at once.
	Resign(ctx context.Context) error
}

// Term is a store as one term sees it: it commits nothing once another term has
// begun, and Confirm fails then. What it loads was written before it began.
type Term interface {
	Store
	// Create writes the first batch of a store where Load found none. It errs
	// with ErrExists, and has written nothing, if there is one by now.
	Create(ctx context.Context, b fencing.Batch) error
}
