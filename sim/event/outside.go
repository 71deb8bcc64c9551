package event

import (
	"fmt"
	"math"
	"time"
)

// Never is a time for what did not happen: it is later than any other.
const Never = time.Duration(math.MaxInt64)

// Span is a time from one instant to another.
type Span struct{ From, To time.Duration }

// Grant is what is known from outside of a lease. Who only sees requests leave and
// answers come back knows two instants of each call, between which the service did
// it. All times are those of one steady clock.
type Grant struct {
	Key
	Epoch uint64
	Floor int64
	// Asked is before the first request for it was sent, and Answered after its
	// first answer came.
	Asked, Answered time.Duration
	// Ceiling is the highest that was promised, and Deadline the latest by the
	// holder's rule: sent + TTL.
	Ceiling  int64
	Deadline time.Duration
	// Live is when its holder could use it.
	Live []Span
	// ReleaseSent, RevokeSent and Lost are when a release and a revoke of it were
	// sent, and when LEASE_LOST first came; Never if not.
	ReleaseSent, RevokeSent, Lost time.Duration
	// Last is what the release said was used last; nil: it did not say.
	Last *int64
}

// Used returns the highest timestamp that the holder may have put into an ID: what
// it said itself, or else what it was promised.
func (g *Grant) Used() int64 {
	if g.Last != nil {
		return max(*g.Last, g.Floor-1)
	}
	return g.Ceiling
}

// String says which grant it is.
func (g *Grant) String() string {
	return fmt.Sprintf(
		"node ID %d of pool %q under epoch %d (asked for at %v, answered at %v, deadline %v)",
		g.Node, g.Pool, g.Epoch, g.Asked, g.Answered, g.Deadline)
}
