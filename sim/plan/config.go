package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/sim/kernel"
)

// Config says which world to run. The zero value but for the Seed is what a
// campaign runs.
type Config struct {
	// Seed names the run.
	Seed uint64
	// Profile; empty: drawn, 10 % calm, 65 % envelope, 25 % hostile.
	Profile Profile
	// Without are kinds of faults that are switched off.
	Without []Kind
	// Apps is how many there are, 2 to 12; 0: drawn.
	Apps int
	// Replicas is how many serve, on etcd, 1 to 3; −1: one server with a disk of
	// its own; 0: drawn.
	Replicas int
	// Faults: at most so many happen, the first ones; 0: no such limit, −1: none.
	Faults int
	// Until: faults stop, at the latest, at this true time; 0: drawn.
	Until time.Duration
	// Trace keeps the records of what happens.
	Trace bool
	// Choices takes the place of the Seed's own choices.
	Choices kernel.Choices
	// Canary is for the tests of those who report: at a seed that it names,
	// the run is said to break a promise that it kept.
	Canary uint64
}

// Validate says what is wrong with the config, if anything.
func (c Config) Validate() error {
	switch {
	case c.Profile != "" && !slices.Contains(Profiles(), c.Profile):
		return fmt.Errorf("profile %q does not exist: give one of %v", c.Profile, Profiles())
	case c.Apps != 0 && (c.Apps < 2 || c.Apps > MaxApps):
		return fmt.Errorf("%d apps are out of range: give 2 to %d, or 0 to have it drawn", c.Apps,
			MaxApps)
	case c.Replicas < -1 || c.Replicas > MaxReplicas:
		return fmt.Errorf(
			"%d replicas are out of range: give 1 to %d on etcd, -1 for one server with a disk, or 0 to have it drawn", c.Replicas, MaxReplicas)
	case c.Until < 0:
		return fmt.Errorf("faults until %v: give a time from 0 up", c.Until)
	}
	for _, k := range c.Without {
		if !slices.Contains(Kinds(), k) {
			return fmt.Errorf("fault %q does not exist: give some of %v", k, Kinds())
		}
	}
	return nil
}

// Command is the one command that repeats the run.
func (c Config) Command() string {
	cmd := fmt.Sprintf("cirrus sim --seed %d", c.Seed)
	if c.Profile != "" {
		cmd += " --profile " + string(c.Profile)
	}
	if len(c.Without) > 0 {
		names := make([]string, len(c.Without))
		for i, k := range c.Without {
			names[i] = string(k)
		}
		cmd += " --without " + strings.Join(names, ",")
	}
	if c.Apps != 0 {
		cmd += fmt.Sprintf(" --apps %d", c.Apps)
	}
	if c.Replicas != 0 {
		cmd += fmt.Sprintf(" --replicas %d", c.Replicas)
	}
	if c.Faults != 0 {
		cmd += fmt.Sprintf(" --faults %d", c.Faults)
	}
	if c.Until != 0 {
		cmd += fmt.Sprintf(" --until %v", c.Until)
	}
	return cmd
}

// The most apps and replicas that a world has.
const (
	MaxApps     = 12
	MaxReplicas = 3
)
