package explore

import (
	"fmt"
	"time"
)

// Unit is the step of every clock of a scope. It is longer than any wait between
// two retries of a holder, so each retry falls between two steps.
const Unit = 10 * time.Second

// Units is a number of steps of a clock.
type Units int

// Bounds of a scope. The fields of state are no larger.
const (
	MaxNodes     = 3
	MaxHolders   = 3
	MaxInstances = 6
	MaxHorizon   = 60
	// MaxDeposed bounds the deposed servers that do not know it yet.
	MaxDeposed = 2
)

// Scope bounds a search: what exists, how clocks run, and how much may go wrong.
// Within these bounds every order of every event is searched. A message may always
// be late or lost.
type Scope struct {
	// Name stands in the report.
	Name string

	// Nodes is the number of the pool's node IDs, 1 to MaxNodes.
	Nodes int
	// Holders is the number of apps that run at a time, 1 to MaxHolders.
	Holders int
	// Instances is the number of instance IDs that all holders together make,
	// Holders to MaxInstances.
	Instances int
	// Apps is the number of app IDs that the holders share, 1 to Holders.
	Apps int
	// TTL and Quarantine are the pool's, and Stride is the server's. TTL and Stride
	// are at least 1.
	TTL, Quarantine, Stride Units
	// Horizon is the last time of the service's steady clock, 1 to MaxHorizon.
	Horizon Units

	// Drift is how far a troubled holder's steady clock may fall behind the
	// service's before it catches up, and ServerDrift how far a deposed server's.
	Drift, ServerDrift Units
	// Lies says that the clocks drift further than P1 assumes. P1 is not checked.
	Lies bool
	// Walls are the possible offsets of the wall clock, apart from 0.
	Walls []Units
	// WallSets is how often the wall clock is set.
	WallSets int

	// Crashes, Takeovers, Revokes and Releases say how often each happens.
	// Restarts says how often a troubled app dies and starts as another instance.
	Crashes, Takeovers, Revokes, Releases, Restarts int
	// Doubles is the number of messages that arrive twice.
	Doubles int
	// Requests and Replies bound the messages in flight from and to one holder,
	// and are at least 1. If there is one more, one of them is lost.
	Requests, Replies int
	// Troubled is how many of the holders, the first ones, drift, release and die.
	// The others only acquire a lease and keep it.
	Troubled int
	// SlowMarks lets writes of the mark take time, as all other writes do.
	// Otherwise they are durable and acknowledged at once.
	SlowMarks bool
	// Lazy lets servers and holders read their clocks at any later time, and
	// servers also when something arrives. Otherwise they read them at every step
	// of the clock, and what they then send may be late or lost. What a server does
	// must not depend on when it reads its clock (S5), and a holder that reads it
	// late is like one whose requests are late.
	Lazy bool

	// MaxStates and MaxDepth end the search early. 0: no bound.
	MaxStates, MaxDepth int
}

// Validate returns an error that says what is wrong with the scope.
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
			return fmt.Errorf("scope %q has %s %d: give %d to %d", s.Name, f.what, f.is, f.min,
				f.max)
		}
	}
	if !s.Lies && s.Drift+s.ServerDrift > s.Quarantine {
		return fmt.Errorf(
			"scope %q lets clocks drift apart by %d units, more than the quarantine of %d: P1 needs less; give less, or say Lies",
			s.Name, s.Drift+s.ServerDrift, s.Quarantine)
	}
	return nil
}
