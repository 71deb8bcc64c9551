package client

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// Change is what happened to the lease.
type Change = fencing.Change

// The changes. A holder reports Held, then any number of (Expired, then Revived
// or Lost) and (Lost, then Reacquired), and at the end Released or Refused. With
// WithoutReacquire, Lost may be the last change as well.
const (
	// Held: the first lease is held.
	Held = fencing.ChangeHeld
	// Expired: the deadline passed without a good heartbeat. The node ID must
	// not be used, and the generator mints nothing; heartbeats continue (C4).
	Expired = fencing.ChangeExpired
	// Revived: a late heartbeat succeeded. The node ID may be used again, under
	// the same epoch (C4).
	Revived = fencing.ChangeRevived
	// Lost: the lease is gone (C5).
	Lost = fencing.ChangeLost
	// Reacquired: a new lease is held after a loss; the epoch is new, and the
	// node ID may be another one.
	Reacquired = fencing.ChangeReacquired
	// Released: the app gave the lease back. The holder has ended.
	Released = fencing.ChangeReleased
	// Refused: the service does not grant a lease, and asking again would not
	// help; Event.Err says why. The holder has ended.
	Refused = fencing.ChangeRefused
)

// Event is one change, as reported to the app.
type Event struct {
	Change Change
	// Lease is the lease that changed, as it was at the change. For Refused it is
	// the last lease that was held.
	Lease Lease
	// Err is the cause: for Expired the error of the last call, if that call
	// failed; for Lost and Refused the service's error; for Released the error of
	// the Release call, if the service did not confirm it. Otherwise it is nil.
	Err error
}

// Lease is one snapshot of a lease: its node ID, epoch and the rest belong
// together.
type Lease struct {
	fencing.Lease
	// Remaining is how long the lease stays valid without another heartbeat; 0 if
	// it is not valid.
	Remaining time.Duration
}

// Valid reports whether the node ID may be used.
func (l Lease) Valid() bool { return l.Remaining > 0 }
