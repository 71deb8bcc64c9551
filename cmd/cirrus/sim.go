package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/sim"
)

// defaultSeeds is how many seeds a campaign runs if neither a number nor a time is
// given.
const defaultSeeds = 2000

func newSim() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Try every promise in simulated worlds, and show one of them",
		Long: `Sim runs the real holder, client, handlers, service, store and generator in one
thread under one seed, in a world whose network, clocks, disk and processes
misbehave, and checks every promise after every event. One seed is one life; it
is the same each time.

Without --seed it is a campaign: many seeds, one after the other, up to the first
that breaks a promise. The exit code is 1 then, and the one command that repeats
that life is printed. With --seed it is one life, which can be written down: as a
table (--table), as a page for a browser (--html), or line by line (--trace).

Profiles: ` + profileNames() + ".",
		Example: `  cirrus sim --seeds 2000
  cirrus sim --for 60s --start 100000 --profile hostile
  cirrus sim --seed 7 --html run.html
  cirrus sim --seed 7 --table - | less -S
  cirrus sim --seed 7 --minimize --trace trace.ndjson`,
		RunE: runSim,
	}
	f := cmd.Flags()
	f.Int("seeds", defaultSeeds,
		"how many `seeds` to run; with --for and without this: as many as fit")
	f.Uint64("start", 1, "the first `seed`")
	f.Duration("for", 0, "end after this `time`")
	f.Int("jobs", 0, "how many worlds run at once (default: one for each processor)")
	f.Uint64("seed", 0, "run this one `seed`")
	f.String("profile", "", "how bad the worlds are: "+profileNames()+" (default: each seed's own)")
	f.StringSlice("without", nil, "`kinds` of faults to switch off, comma-separated")
	f.Int("apps", 0, "how many apps there are, 2 to 12 (default: each seed's own)")
	f.Int("replicas", 0,
		"how many replicas serve, on etcd, 1 to 3; -1: one server with a disk (default: each seed's own)")
	f.Int("faults",
		0, "at most so many faults happen, the first ones; -1: none (default: no limit)")
	f.Duration("until", 0, "faults stop at this `time` at the latest (default: each seed's own)")
	f.Bool("minimize", false,
		"with --seed: search for the smallest world that still breaks the promise")
	f.String("trace", "",
		"with --seed: write what happens to this `file`, one JSON object a line; -: stdout")
	f.String("table", "",
		"with --seed: write it to this `file` as a table with a column a machine; -: stdout")
	f.String("html", "", "with --seed: write it to this `file` as a page for a browser; -: stdout")
	f.Uint64("canary", 0, "a `seed` that is to be reported as broken although it is not")
	_ = f.MarkHidden("canary") // it is there: the line above made it
	for flag, values := range map[string][]string{"profile": strings.Split(profileNames(), ", "),
		"without": kindNames()} {
		_ = cmd.RegisterFlagCompletionFunc(flag,
			cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	cmd.AddCommand(newSimZoo(), newSimExplore())
	return cmd
}

func profileNames() string {
	var names []string
	for _, p := range sim.Profiles() {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}

func kindNames() []string {
	var names []string
	for _, k := range sim.Kinds() {
		names = append(names, string(k))
	}
	return names
}

// runSim runs one seed, or many.
func runSim(cmd *cobra.Command, _ []string) error {
	config, err := simConfig(cmd)
	if err != nil {
		return err
	}
	one := flags.Given(cmd.Flags(), "seed")
	if err := fitTogether(cmd, one); err != nil {
		return err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(sim.GCPercent))
	if one {
		return runSeed(cmd, config)
	}
	return runCampaign(cmd, config)
}

// simConfig reads the flags that campaigns and single seeds have in common.
func simConfig(cmd *cobra.Command) (sim.Config, error) {
	f := cmd.Flags()
	var c sim.Config
	c.Seed, _ = f.GetUint64("seed")
	profile, _ := f.GetString("profile")
	c.Profile = sim.Profile(profile)
	without, _ := f.GetStringSlice("without")
	for _, k := range without {
		c.Without = append(c.Without, sim.Kind(k))
	}
	c.Apps, _ = f.GetInt("apps")
	c.Replicas, _ = f.GetInt("replicas")
	c.Faults, _ = f.GetInt("faults")
	c.Until, _ = f.GetDuration("until")
	c.Canary, _ = f.GetUint64("canary")
	if err := c.Validate(); err != nil {
		return c, exit.Usage(err)
	}
	return c, nil
}

// fitTogether refuses flags that mean nothing beside each other.
func fitTogether(cmd *cobra.Command, one bool) error {
	wrong, instead := []string{"minimize", "trace", "table", "html"}, "give --seed, too"
	if one {
		wrong, instead = []string{"seeds", "start", "for", "jobs"}, "leave out one of the two"
	}
	for _, name := range wrong {
		if flags.Given(cmd.Flags(), name) {
			if one {
				return exit.Usagef("--%s is for many seeds and --seed for one: %s", name, instead)
			}
			return exit.Usagef("--%s is for one seed: %s", name, instead)
		}
	}
	return nil
}

// errInterrupted is the error of a command that was interrupted.
var errInterrupted = errors.New("interrupted")

// stopwatch returns a function that returns the time since now.
func stopwatch() func() time.Duration {
	started := time.Now()
	return func() time.Duration { return time.Since(started) }
}

// writeTo writes to a file, or to standard output if it is called "-".
func writeTo(cmd *cobra.Command, name string, write func(io.Writer) error) error {
	if name == "-" {
		return write(cmd.OutOrStdout())
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		_ = f.Close() // the file is incomplete anyway
		return fmt.Errorf("%s can't be written: %w", name, err)
	}
	return f.Close()
}
