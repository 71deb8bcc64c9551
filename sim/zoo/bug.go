package zoo

import (
	"time"

	"github.com/cirrus-id/cirrus/sim"
)

// Bug is a mistake that somebody could make.
type Bug struct {
	// Name is unique: a few words with dashes between them.
	Name string
	// Rule is the one of the design that it breaks, such as "S6".
	Rule string
	// Edits are what makes the mistake.
	Edits []Edit
	// Found is who must find it.
	Found Finder
	// Budget is how much time of one core each hunt for it may take; 0:
	// DefaultBudget.
	Budget time.Duration
}

// DefaultBudget is how much time of one core a hunt may take.
const DefaultBudget = 60 * time.Second

// Edit replaces a text in a file of the product.
type Edit struct {
	// File is its path from the module's root, with slashes.
	File string
	// Old occurs in it exactly once, and becomes New.
	Old, New string
}

// Finder says who must find a bug: the simulator by breaking one of the
// promises, or else a test.
type Finder struct {
	// Promises are those of the simulator that the bug breaks: whichever
	// breaks first. More than one only where the same mistake shows in several
	// ways, and a seed decides in which.
	Promises []sim.Promise
	// Profile is the simulator's; empty: each seed draws its own, as in a
	// campaign.
	Profile sim.Profile
	// Package and Test name a test, for what the simulator can't see; Because
	// says why it can't.
	Package, Test, Because string
}

// bySimulator says who of the two it is.
func (f Finder) bySimulator() bool { return f.Test == "" }

// breaks is the finder of most bugs.
func breaks(promises ...sim.Promise) Finder { return Finder{Promises: promises} }

// fails is the finder of a bug that only a test can see.
func fails(pkg, test, because string) Finder {
	return Finder{Package: pkg, Test: test, Because: because}
}

// Bugs are all that are planted.
func Bugs() []Bug {
	var all []Bug
	for _, some := range [][]Bug{storeBugs, grantBugs, quarantineBugs, startBugs, markBugs, releaseBugs, heartbeatBugs, recoverBugs, holderBugs, generatorBugs, replicaBugs, edgeBugs, silenceBugs, lostBugs} {
		all = append(all, some...)
	}
	return all
}

// find returns the bug or control of a name.
func find(name string) (Bug, bool) {
	for _, some := range [][]Bug{Bugs(), controls, {canary}} {
		for _, b := range some {
			if b.Name == name {
				return b, true
			}
		}
	}
	return Bug{}, false
}

// canary is no bug: at one seed the simulator is told to cry wolf.
var canary = Bug{Name: "canary", Rule: "–", Found: Finder{Promises: []sim.Promise{sim.PromiseCanary}, Profile: sim.Calm}}

// canarySeed is that seed.
const canarySeed = 7
