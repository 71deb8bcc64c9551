package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/sim/explore"
)

func newSimExplore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explore",
		Short: "Look at every order of every event, in small worlds",
		Long: `Explore searches small worlds to exhaustion: one or two node IDs, two or three
holders, and every order in which messages, restarts, writes and clocks can come.
It runs the real rules of server and holder. Where a promise breaks it prints the
shortest way there.

The usual scopes take seconds; --larger ones take minutes and gigabytes.`,
		Example: `  cirrus sim explore
  cirrus sim explore --only restart,takeover
  cirrus sim explore --larger`,
		RunE: runExplore,
	}
	f := cmd.Flags()
	f.Bool("larger", false, "search larger scopes, too")
	f.StringSlice("only", nil, "`names` of the scopes to search, comma-separated (default: all)")
	return cmd
}

func runExplore(cmd *cobra.Command, _ []string) error {
	larger, _ := cmd.Flags().GetBool("larger")
	only, _ := cmd.Flags().GetStringSlice("only")
	scopes, err := chooseScopes(larger, only)
	if err != nil {
		return err
	}
	var t tally
	elapsed := stopwatch()
	for _, s := range scopes {
		if err := t.search(cmd, s); err != nil {
			return err
		}
		if cmd.Context().Err() != nil {
			break
		}
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%d scopes, %d states in %.1f s\n", t.whole,
		t.states, elapsed().Seconds()); err != nil {
		return err
	}
	switch {
	case t.broken > 0:
		return fmt.Errorf("a promise is broken in %d of %d scopes: the way there is above",
			t.broken, len(scopes))
	case t.whole < len(scopes):
		return fmt.Errorf("%w: %d of %d scopes were searched", errInterrupted, t.whole, len(scopes))
	}
	return nil
}

// tally sums up searches.
type tally struct{ whole, states, broken int }

func (t *tally) search(cmd *cobra.Command, s explore.Scope) error {
	r, err := explore.Run(cmd.Context(), s)
	if err != nil {
		return err
	}
	t.states += r.States
	if !r.Interrupted {
		t.whole++
	}
	if r.Violation != nil {
		t.broken++
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), r)
	return err
}

// chooseScopes gives the scopes of these names, or all.
func chooseScopes(larger bool, only []string) ([]explore.Scope, error) {
	scopes := explore.Scopes()
	if larger {
		scopes = append(scopes, largerScopes(scopes)...)
	}
	if len(only) == 0 {
		return scopes, nil
	}
	var names []string
	for _, s := range scopes {
		names = append(names, s.Name)
	}
	for _, name := range only {
		if !slices.Contains(names, name) {
			return nil, exit.Usagef("there is no scope %q: give some of %s", name,
				strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(scopes, func(s explore.Scope) bool {
		return !slices.Contains(only,
			s.Name)
	}), nil
}

// largerScopes are those that run for a step longer.
func largerScopes(scopes []explore.Scope) []explore.Scope {
	larger := slices.Clone(scopes)
	for i := range larger {
		larger[i].Name += ", longer"
		larger[i].Horizon++
	}
	return larger
}
