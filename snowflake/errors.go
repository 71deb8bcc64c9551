package snowflake

import (
	"errors"
	"fmt"
)

// Errors of Next and NextN when nothing can be minted. Compare with errors.Is.
// They are variables, so returning one allocates nothing.
var (
	// ErrLeaseNotValid: there is no lease, its deadline has passed, or it was
	// stopped. Minting continues after a good heartbeat or under a new lease.
	ErrLeaseNotValid = errors.New("lease not valid")

	// ErrCeiling: the next ID's timestamp would be above the lease's ceiling.
	// The next good heartbeat raises it.
	ErrCeiling = errors.New(
		"ceiling reached: the lease allows no later timestamp until its next good heartbeat")

	// ErrLayoutExhausted: the next ID's timestamp would be above the last one
	// that the layout can carry. Heartbeats don't change that.
	ErrLayoutExhausted = errors.New(
		"layout exhausted: no later timestamp fits its bits; move to a pool with a later origin or more timestamp bits")
)

// The three causes of ErrLeaseNotValid.
var (
	errNoLease = fmt.Errorf("%w: none was granted yet; wait until the holder has one",
		ErrLeaseNotValid)
	errDeadline = fmt.Errorf("%w: its deadline has passed; wait for the next good heartbeat",
		ErrLeaseNotValid)
	errStopped = fmt.Errorf("%w: it was stopped, and no other is held", ErrLeaseNotValid)
)

// Errors of Begin for a grant that is well-formed. Compare with errors.Is.
var (
	// ErrLeaseRunning: the session of the previous lease was not stopped.
	ErrLeaseRunning = errors.New(
		"the generator still has a lease: stop it before you begin another")

	// ErrSameLease: the grant allows timestamps that the previous lease has used
	// under the same node ID, so it is that lease again.
	ErrSameLease = errors.New("the grant is no new lease: acquire one with a fresh instance ID")
)
