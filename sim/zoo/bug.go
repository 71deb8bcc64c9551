package zoo

import (
	"time"

	"github.com/cirrus-id/cirrus/sim"
	"github.com/cirrus-id/cirrus/sim/zoo/internal/patch"
)

// Bug is a mistake that somebody could make in the product.
type Bug struct {
	// Name is unique: a few words with dashes between them.
	Name string
	// Rule is the rule of docs/design.md that the bug breaks, such as "S6".
	Rule string
	// Found is what must find the bug. A control has the zero value: nothing may
	// find it.
	Found Finder
	// Budget is the most time of one core that each hunt for the bug may take. Run
	// sets it.
	Budget time.Duration

	// patch makes the mistake.
	patch patch.Patch
}

// DefaultBudget is the most time of one core that a hunt may take.
const DefaultBudget = 60 * time.Second

// Finder is what must find a bug: the simulator, by a broken promise, or a test.
type Finder struct {
	// Promises are the simulator's: the bug breaks one of them first. There is
	// more than one if the seed decides which.
	Promises []sim.Promise
	// Profile is the simulator's. If it is empty, each seed draws its own, as in
	// a campaign.
	Profile sim.Profile
	// Package and Test name a test that finds what the simulator cannot see.
	// Package is a path from the module's root.
	Package, Test string
	// Because says why the simulator cannot see it.
	Because string
}

// bySimulator reports whether the simulator must find the bug, rather than a test.
func (f Finder) bySimulator() bool { return f.Test == "" }

// canary is no bug: the simulator is told to report a violation at one seed.
var canary = Bug{
	Name: "canary", Rule: "–",
	Found: Finder{Promises: []sim.Promise{sim.PromiseCanary}, Profile: sim.Calm},
}

// canarySeed is that seed, counted from the first.
const canarySeed = 7
