package explore

import (
	"fmt"
	"time"
)

// Unit is the step of every clock of a scope. It is longer than any pause that
// a holder makes of its own accord, so each of its retries falls between two
// steps.
const Unit = 10 * time.Second

// Units counts steps of a clock.
type Units int

// Bounds of a scope. They are those of the state's small fields.
const (
	MaxNodes     = 3
	MaxHolders   = 3
	MaxInstances = 6
	MaxHorizon   = 60
	// MaxDeposed is how many deposed servers there may be that don't know.
	MaxDeposed = 2
)

// Scope bounds a search: what exists, how clocks run, and how much may go
// wrong. Within these bounds every order of every event is looked at. Messages
// may always be late, and each may be lost.
type Scope struct {
	// Name is how the report calls it.
	Name string

	// Nodes are the pool's node IDs, 1 to MaxNodes; Holders are the apps'
	// places, 1 to MaxHolders; Instances is how many fresh instance IDs all of
	// them make, up to MaxInstances.
	Nodes, Holders, Instances int
	// Apps is how many app IDs the holders share, 1 to Holders.
	Apps int
	// TTL, Quarantine and Stride are the pool's and the server's; TTL and
	// Stride at least 1.
	TTL, Quarantine, Stride Units
	// Horizon is how far the service's steady clock goes, 1 to MaxHorizon.
	Horizon Units

	// Drift is how far a troubled holder's steady clock falls behind the service's and
	// catches up again, ServerDrift how far a deposed server's does.
	Drift, ServerDrift Units
	// Lies says that the drift is beyond what P1 assumes: P1 is not checked.
	Lies bool
	// Walls are what the wall clock may be off by, apart from 0; WallSets is
	// how often it is set.
	Walls    []Units
	WallSets int

	// Crashes, Takeovers, Revokes and Releases are how often each happens;
	// Restarts how often a troubled app dies and starts anew as another instance.
	Crashes, Takeovers, Revokes, Releases, Restarts int
	// Doubles is how many messages arrive twice.
	Doubles int
	// Requests and Replies are how many of each may be under way for one
	// holder, at least 1. One more, and one of them is lost.
	Requests, Replies int
	// Troubled is how many of the holders, the first ones, drift, release and
	// die; the others only come and stay.
	Troubled int
	// SlowMarks: writes of the mark take time, as all others do. Otherwise they
	// are durable, and known to be, at once.
	SlowMarks bool
	// Lazy: servers and holders look at their clocks at any time later on, and
	// servers when something arrives. Otherwise they do at every step of their
	// clock, and what they then send may be late or lost. What a server does
	// must not depend on that (S5), and a holder that looks late is one whose
	// requests were late.
	Lazy bool

	// MaxStates and MaxDepth end the search early. 0: at nothing but its end.
	MaxStates, MaxDepth int
}

// Validate says what is wrong with the scope, if anything.
func (s Scope) Validate() error {
	for _, f := range []struct {
		what     string
		is       int
		min, max int
	}{
		{"Nodes", s.Nodes, 1, MaxNodes},
		{"Holders", s.Holders, 1, MaxHolders},
		{"Instances", s.Instances, s.Holders, MaxInstances},
		{"Apps", s.Apps, 1, s.Holders},
		{"TTL", int(s.TTL), 1, MaxHorizon},
		{"Quarantine", int(s.Quarantine), 0, MaxHorizon},
		{"Stride", int(s.Stride), 1, MaxHorizon},
		{"Horizon", int(s.Horizon), 1, MaxHorizon},
		{"Drift", int(s.Drift), 0, MaxHorizon},
		{"ServerDrift", int(s.ServerDrift), 0, MaxHorizon},
		{"len(Walls)", len(s.Walls), 0, 8},
		{"Troubled", s.Troubled, 0, s.Holders},
		{"WallSets", s.WallSets, 0, 8},
		{"Crashes", s.Crashes, 0, 8},
		{"Takeovers", s.Takeovers, 0, 8},
		{"Revokes", s.Revokes, 0, 8},
		{"Releases", s.Releases, 0, 8},
		{"Restarts", s.Restarts, 0, 8},
		{"Doubles", s.Doubles, 0, 8},
		{"Requests", s.Requests, 1, 3},
		{"Replies", s.Replies, 1, 3},
		{"MaxStates", s.MaxStates, 0, 1 << 30},
		{"MaxDepth", s.MaxDepth, 0, 1 << 30},
	} {
		if f.is < f.min || f.is > f.max {
			return fmt.Errorf("scope %q has %s %d: give %d to %d", s.Name, f.what, f.is, f.min, f.max)
		}
	}
	if !s.Lies && s.Drift+s.ServerDrift > s.Quarantine {
		return fmt.Errorf("scope %q lets clocks drift apart by %d units, more than the quarantine of %d: P1 needs less; give less, or say Lies",
			s.Name, s.Drift+s.ServerDrift, s.Quarantine)
	}
	return nil
}
