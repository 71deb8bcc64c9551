package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cirrus-id/cirrus/internal/logwriter"
)

// Exit codes. A child's own is passed on by `cirrus run`.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a mistake in how the command was called.
type usageError struct{ error }

// Unwrap gives the mistake.
func (e usageError) Unwrap() error { return e.error }

// usagef says what was wrong with the call.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitError ends the process with a code of somebody else's choice.
type exitError int

// Error names the code.
func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// run is main with its surroundings as arguments.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	outlivePipes()
	// `cirrus run` passes signals on to its child and takes them itself.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	// All that is said on stderr goes through here, so nobody who logs waits for
	// whoever reads it (S14).
	log := logwriter.New(stderr, logwriter.DefaultLimit)
	defer log.Flush(lastWords)
	root.SetErr(log)
	return exitCode(root.ExecuteContext(ctx), log)
}

func exitCode(err error, stderr io.Writer) int {
	var usage usageError
	var code exitError
	var gone readerGone
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &gone): // who has read enough needs no message
		return exitReaderGone
	case errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command"):
		fmt.Fprintf(stderr, "cirrus: %v\n", err) //nolint:errcheck // there is nowhere left to complain
		return exitUsage
	}
	fmt.Fprintf(stderr, "cirrus: %v\n", err) //nolint:errcheck // there is nowhere left to complain
	return exitFailed
}

// newRoot puts the subcommands together.
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
			endAtHangup(cmd)
			cmd.SetOut(&patientOutput{ctx: cmd.Context(), out: cmd.OutOrStdout()})
			return configure(cmd)
		},
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.PersistentFlags().String("config", "", "YAML `file` with settings; unknown keys are errors")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%v: see `%s --help`", err, cmd.CommandPath())
	})
	root.AddCommand(
		newServe(), newInit(), newRecover(), newMigrate(),
		newIDs(), newRun(),
		newAcquire(), newHeartbeat(), newRelease(),
		newLs(), newWatch(), newRevoke(), newFree(), newPools(),
		newDecode(), newVersion(),
		newBench(), newBenchServer(), newSim(),
	)
	setUpCompletion(root)
	for _, cmd := range all(root) {
		wrapArgs(cmd)
	}
	return root
}

// all lists a command and those below it.
func all(cmd *cobra.Command) []*cobra.Command {
	cmds := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		cmds = append(cmds, all(sub)...)
	}
	return cmds
}

// wrapArgs makes wrong arguments a usage error.
func wrapArgs(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%v: see `%s --help`", err, cmd.CommandPath())
		}
		return nil
	}
}

// given says whether a flag was set, by whatever source.
func given(flags *pflag.FlagSet, name string) bool { return flags.Changed(name) }
