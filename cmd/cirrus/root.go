package main

import (
	"context"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/hint"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/internal/logwriter"
)

// run is main, with its arguments and files passed in.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	exit.OutlivePipes()
	// `cirrus run` passes signals on to its child and takes them itself.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	// Everything written to stderr goes through log, so that nothing waits for the
	// reader of stderr (S14).
	log := logwriter.New(stderr, logwriter.DefaultLimit)
	defer log.Flush(exit.LastWords)
	root.SetErr(log)
	return exit.Report(hint.Add(root.ExecuteContext(ctx)), log)
}

// newRoot makes the command with all its subcommands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "cirrus",
		Short: "Lease Snowflake node IDs, each to one live holder at a time",
		Long: `Cirrus leases Snowflake node IDs: each copy of an app gets one that no other
live copy has, with a fencing epoch and a window of timestamps, so that IDs stay
unique even when apps stall, clocks lie and servers crash.

Every flag can be given in the environment, too (--max-ttl as CIRRUS_MAX_TTL),
or in a YAML file named by --config (as max-ttl: 60s). A flag beats the
environment, and the environment beats the file.`,
		Example: `  cirrus init --data ./cirrus-data
  cirrus serve --data ./cirrus-data
  cirrus ids -n 5`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			exit.EndAtHangup(cmd)
			cmd.SetOut(output.NewStdout(cmd.Context(), cmd.OutOrStdout()))
			return flags.Configure(cmd)
		},
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.PersistentFlags().String("config", "",
		"YAML `file` with settings; unknown keys are errors")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.Usagef("%v: see `%s --help`", err, cmd.CommandPath())
	})
	root.AddCommand(
		newServe(), newInit(), newRecover(), newMigrate(),
		newIDs(), newRun(),
		newAcquire(), newHeartbeat(), newRelease(),
		newLs(), newWatch(), newRevoke(), newFree(), newPools(),
		newDecode(), newVersion(),
		newSim(),
	)
	setUpCompletion(root)
	for _, cmd := range flags.Commands(root) {
		wrapArgs(cmd)
	}
	return root
}

// wrapArgs marks the errors of wrong arguments as wrong usage.
func wrapArgs(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return exit.Usagef("%v: see `%s --help`", err, cmd.CommandPath())
		}
		return nil
	}
}
