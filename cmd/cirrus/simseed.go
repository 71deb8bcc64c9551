package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/sim"
	runpage "github.com/cirrus-id/cirrus/sim/page"
)

// record is a format that a run can be written in.
type record struct {
	flag, file string
	write      func(io.Writer, *sim.Result) error
}

// records returns the formats that the flags ask for.
func records(cmd *cobra.Command) []record {
	all := []record{
		{flag: "trace", write: func(w io.Writer,
			r *sim.Result) error {
			return sim.WriteNDJSON(w, r.Trace)
		}},
		{flag: "table", write: func(w io.Writer,
			r *sim.Result) error {
			return writeTraceTable(w, r.Trace)
		}},
		{flag: "html", write: func(w io.Writer,
			r *sim.Result) error {
			return runpage.Write(w, r, cmp.Or(revision(), "unknown"))
		}},
	}
	var wanted []record
	for _, r := range all {
		if r.file, _ = cmd.Flags().GetString(r.flag); r.file != "" {
			wanted = append(wanted, r)
		}
	}
	return wanted
}

// runSeed runs one seed and writes the records that the flags ask for.
func runSeed(cmd *cobra.Command, config sim.Config) error {
	wanted := records(cmd)
	out := cmd.OutOrStdout() // unless a record goes there
	for _, r := range wanted {
		if r.file == "-" {
			out = output.File(cmd.ErrOrStderr())
		}
	}
	config.Trace = len(wanted) > 0
	result := sim.Run(config)
	if small, _ := cmd.Flags().GetBool("minimize"); small {
		var err error
		if result, err = minimize(cmd, out, result); err != nil {
			return err
		}
	}
	for _, r := range wanted {
		if err := writeTo(cmd, r.file, func(w io.Writer) error {
			return r.write(w,
				&result)
		}); err != nil {
			return err
		}
	}
	return verdict(out, result)
}

// minimize searches for the smallest world that breaks the promise that r broke.
func minimize(cmd *cobra.Command, out io.Writer, r sim.Result) (sim.Result, error) {
	if r.Violation == nil {
		return r, fmt.Errorf(
			"seed %d breaks no promise, so there is nothing to minimize: give one that does",
			r.Config.Seed)
	}
	elapsed := stopwatch()
	small, runs := sim.Minimize(cmd.Context(), r.Config)
	what := "minimized"
	if cmd.Context().Err() != nil {
		what = "interrupted, minimized so far"
	}
	_, err := fmt.Fprintf(out, "%s in %d runs and %.1f s: %s\n", what, runs, elapsed().Seconds(),
		fewer(r, small))
	return small, err
}

// fewer returns a comparison of two worlds, in words.
func fewer(a, b sim.Result) string {
	return fmt.Sprintf("kinds of faults %d → %d, faults %d → %d, apps %d → %d, events %d → %d",
		len(kindsOn(a)), len(kindsOn(b)), a.Stats.Faults, b.Stats.Faults, a.Stats.Apps,
		b.Stats.Apps, a.Stats.Events, b.Stats.Events)
}

// kindsOn returns the kinds of faults that a run had.
func kindsOn(r sim.Result) []string {
	var names []string
	for _, k := range sim.Kinds() {
		if r.Kinds[k] {
			names = append(names, string(k))
		}
	}
	return names
}

// verdict prints what became of a run, and returns an error if a promise was broken.
func verdict(w io.Writer, r sim.Result) error {
	if err := output.PrintFields(w, seedFields(r)); err != nil {
		return err
	}
	if len(r.Situations) > 0 {
		fmt.Fprintln(w, "\nwhat came about, and how often:") //nolint:errcheck // the last write returns the error
	}
	for _, s := range slices.Sorted(maps.Keys(r.Situations)) {
		fmt.Fprintf(w, "%8d  %s\n", r.Situations[s], s) //nolint:errcheck // the last write returns the error
	}
	if r.Violation == nil {
		return green(w, r)
	}
	if _, err := fmt.Fprintf(w, "\n%s", r.Failure(revision())); err != nil {
		return err
	}
	return exit.Code(exit.Failed)
}

// green prints the end of the report of a run in which no promise was broken.
func green(w io.Writer, r sim.Result) error {
	if r.Profile != sim.Vows {
		_, err := fmt.Fprintln(w, "\nno promise was broken")
		return err
	}
	fmt.Fprintln(w, "\nvows were broken, so nothing was promised; what broke, and how often:") //nolint:errcheck // the last write returns the error
	for _, p := range slices.Sorted(maps.Keys(r.Broken)) {
		fmt.Fprintf(w, "%8d  %s\n", r.Broken[p], p) //nolint:errcheck // the last write returns the error
	}
	_, err := fmt.Fprintf(w, "%8d  times the server told of it\n", r.Alarms)
	return err
}

func seedFields(r sim.Result) []output.Field {
	s := r.Stats
	kinds := strings.Join(kindsOn(r), " ")
	if kinds == "" {
		kinds = "none"
	}
	return []output.Field{
		{"seed", fmt.Sprint(r.Config.Seed)},
		{"profile", string(r.Profile)},
		{"hash", fmt.Sprintf("%016x", r.Hash)},
		{"time lived", s.Time.Round(time.Millisecond).String()},
		{"events", fmt.Sprint(s.Events)},
		{"apps", fmt.Sprint(s.Apps)},
		{"calls", fmt.Sprint(s.Calls)},
		{"grants", fmt.Sprint(s.Grants)},
		{"IDs", fmt.Sprint(s.IDs)},
		{"server crashes", fmt.Sprint(s.Crashes)},
		{"faults", fmt.Sprint(s.Faults)},
		{"kinds of faults", kinds},
	}
}
