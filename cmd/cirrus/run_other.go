//go:build !unix

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// newRun makes a command that fails: `cirrus run` needs process groups and signals.
func newRun() *cobra.Command {
	return &cobra.Command{
		Use:     "run --app NAME -- CMD [ARG]...",
		Short:   "Hold a lease for a child process (not on this system)",
		Example: `  cirrus run --app billing -- ./billing-server`,
		Args:    cobra.ArbitraryArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New(
				"cirrus run needs a Unix system: use the Go client, or acquire, heartbeat " +
					"and release")
		},
	}
}
