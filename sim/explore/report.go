package explore

import (
	"fmt"
	"strings"
	"time"
)

// Promise names something that a search checks.
type Promise string

// The promises that are checked in every state.
const (
	// Exclusion is P1: no two live holders of one node ID.
	Exclusion Promise = "P1"
	// Uniqueness is P2: no timestamp of a node ID is open to two leases.
	Uniqueness Promise = "P2"
	// Fencing is P3: every grant's epoch is above all that were promised before,
	// and no server answers for an epoch after a later one of that node ID.
	Fencing Promise = "P3"
	// Finality follows from S3 to S5: a lease that the store holds as ended or
	// revoked is never promised again.
	Finality Promise = "finality"
	// ServerState and HolderState are the invariants of fencing itself.
	ServerState Promise = "Server.Check"
	HolderState Promise = "Holder.Check"
)

// Report says what a search found.
type Report struct {
	Scope Scope
	// States counts the different states that were reached, and Steps the steps
	// between them.
	States, Steps int
	// Depth is the number of steps to the state that is farthest from the first.
	Depth int
	// Exhausted says that the search reached all states of the scope.
	Exhausted bool
	// Interrupted says that its context was done before.
	Interrupted bool
	// Time is how long the search took.
	Time time.Duration
	// Violation is the first one found, nil if there is none. No violation is
	// reached in fewer steps.
	Violation *Violation
}

// Violation is a broken promise, and the shortest sequence of steps that breaks it.
type Violation struct {
	Promise Promise
	// What is a sentence that says how the promise is broken.
	What string
	// Trace has a line for each step.
	Trace []string
}

// String returns the report as one line, and the violation's steps below it.
func (r Report) String() string {
	var b strings.Builder
	end := "exhausted"
	switch {
	case r.Interrupted:
		end = "interrupted"
	case !r.Exhausted:
		end = "bounded"
	}
	if r.Violation != nil {
		end = "broken"
	}
	fmt.Fprintf(&b, "%s: %d states, %d steps, depth %d, %s in %.1fs",
		r.Scope.Name, r.States, r.Steps, r.Depth, end, r.Time.Seconds())
	if v := r.Violation; v != nil {
		fmt.Fprintf(&b, "\n%s broken after %d steps: %s\n", v.Promise, r.Depth, v.What)
		b.WriteString(strings.Join(v.Trace, "\n"))
	}
	return b.String()
}
