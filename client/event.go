package client

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// Change is what happened to the lease.
type Change = fencing.Change

// The changes. A holder's life is Held, then any number of (Expired, then
// Revived or Lost) and (Lost, then Reacquired), and in the end Released or
// Refused. With WithoutReacquire, Lost may be the end, too.
const (
	// Held: the first lease is held.
	Held = fencing.ChangeHeld
	// Expired: the deadline passed without a good heartbeat. The node ID must
	// not be used, and the generator refuses; heartbeats go on (C4).
	Expired = fencing.ChangeExpired
	// Revived: a late heartbeat was good. The node ID may be used again, under
	// the same epoch (C4).
	Revived = fencing.ChangeRevived
	// Lost: the lease is gone (C5).
	Lost = fencing.ChangeLost
	// Reacquired: a new lease is held, after a loss; node ID and epoch are new.
	Reacquired = fencing.ChangeReacquired
	// Released: the app gave the lease back. The holder is over.
	Released = fencing.ChangeReleased
	// Refused: the service will not grant a lease, and asking again is of no
	// use: Event.Err says why. The holder is over.
	Refused = fencing.ChangeRefused
)

// Event tells an app of a change.
type Event struct {
	Change Change
	// Lease is the lease that changed, as it was then. Refused has the last one.
	Lease Lease
	// Err is why: for Expired the last call's error, if it failed; for Lost and
	// Refused the service's; for Released what kept the service from hearing of
	// it, if anything did.
	Err error
}

// Lease is one snapshot of a lease: its node ID, epoch and the rest belong
// together.
type Lease struct {
	fencing.Lease
	// Remaining is how long the lease is good for without another heartbeat; 0
	// if it is not, or not any more.
	Remaining time.Duration
}

// Valid says whether the node ID may be used.
func (l Lease) Valid() bool { return l.Remaining > 0 }
