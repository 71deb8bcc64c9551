package explore

import (
	"fmt"
	"strings"
	"time"
)

// Promise names what a search checks.
type Promise string

// What is checked in every state.
const (
	// Exclusion is P1: no two live holders of one node ID.
	Exclusion Promise = "P1"
	// Uniqueness is P2: no timestamp of a node ID is open to two leases.
	Uniqueness Promise = "P2"
	// Fencing is P3: every grant's epoch is above all that were ever told, and
	// no server answers for an epoch after a later one of that node ID.
	Fencing Promise = "P3"
	// Finality is the rest of S3 to S5: a lease that the store holds as ended
	// or revoked is never promised again.
	Finality Promise = "finality"
	// ServerState and HolderState are the Checks of fencing's own.
	ServerState Promise = "Server.Check"
	HolderState Promise = "Holder.Check"
)

// Report is what a search found.
type Report struct {
	Scope Scope
	// States is how many different ones were reached, Steps how many steps
	// between them, Depth the longest of the shortest ways to one.
	States, Steps, Depth int
	// Exhausted: all that the scope allows was looked at.
	Exhausted bool
	// Interrupted: its context was done before that.
	Interrupted bool
	Time        time.Duration
	// Violation is the first one found, nil if there is none. No other is
	// reached in fewer steps.
	Violation *Violation
}

// Violation is a promise that was broken, and the shortest way there.
type Violation struct {
	Promise Promise
	// What is one sentence.
	What string
	// Trace is the way there, one step a line.
	Trace []string
}

// String gives the report in a line, and the violation's transcript below it.
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
	fmt.Fprintf(&b, "%s: %d states, %d steps, depth %d, %s in %.1fs", r.Scope.Name, r.States, r.Steps, r.Depth, end, r.Time.Seconds())
	if v := r.Violation; v != nil {
		fmt.Fprintf(&b, "\n%s broken after %d steps: %s\n", v.Promise, r.Depth, v.What)
		b.WriteString(strings.Join(v.Trace, "\n"))
	}
	return b.String()
}
