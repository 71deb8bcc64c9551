package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store/pebble"
)

func addData(cmd *cobra.Command, usage string) {
	cmd.Flags().String("data", "", usage)
}

func addStride(cmd *cobra.Command) {
	cmd.Flags().Duration("stride", fencing.DefaultStride, "how far ahead the mark is written, 100ms to 720h")
}

// dataDir is what --data says; it has no default, so that nobody serves a
// store that they didn't mean.
func dataDir(cmd *cobra.Command) (string, error) {
	dir, err := cmd.Flags().GetString("data")
	if err == nil && dir == "" {
		return "", usagef("--data is missing: name the store's directory, such as --data ./cirrus-data")
	}
	return dir, err
}

// storeOptions are those of every store: one that fails ends the process, with
// a sentence that says why (S9).
func storeOptions(cmd *cobra.Command, log *slog.Logger) pebble.Options {
	return pebble.Options{Logger: log, Fatal: func(err error) {
		cmd.PrintErrf("cirrus: %v\n", err)
		os.Exit(exitFailed)
	}}
}

// newStore is a new store's first batch, with the default pool as the flags
// describe it.
func newStore(cmd *cobra.Command, vouched bool) (fencing.Batch, error) {
	change, err := poolChange(cmd.Flags())
	if err != nil {
		return fencing.Batch{}, err
	}
	stride, err := cmd.Flags().GetDuration("stride")
	if err != nil {
		return fencing.Batch{}, err
	}
	return fencing.NewStore(wallClock(), stride, vouched, change.New(fencing.DefaultPool))
}

func wallClock() snowflake.Millis { return snowflake.Millis(time.Now().UnixMilli()) }

// newInit makes a store that its operator vouches for (S7).
func newInit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init --data DIR",
		Short: "Create a store whose pools are open at once",
		Long: `Init creates a store and vouches that nobody holds node IDs from an earlier
one: its pools grant at once. It refuses a directory that has a store, so it
can't be left in a manifest to vouch for a disk that was lost.`,
		Example: `  cirrus init --data ./cirrus-data
  cirrus init --data ./cirrus-data --ttl 10s --quarantine 20s --node-ids 0-511`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := dataDir(cmd)
			if err != nil {
				return err
			}
			batch, err := newStore(cmd, true)
			if err != nil {
				return err
			}
			if err := pebble.Create(dir, *batch.Meta, batch.Pools, storeOptions(cmd, quiet)); err != nil {
				return err
			}
			cmd.Printf("created a store in %s; serve it with: cirrus serve --data %s\n", dir, dir)
			return nil
		},
	}
	addData(cmd, "`directory` to create the store in; must be missing or empty")
	addStride(cmd)
	addPoolSettings(cmd)
	return cmd
}

// newRecover makes a store that was restored from a copy suspicious again (S7).
func newRecover() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recover --data DIR",
		Short: "Make a store that was restored from a copy safe to serve",
		Long: `Recover is for a store that was restored from a copy, or that has lost a write:
it no longer knows what was granted and promised since. Recover raises its mark
and its epochs above all that can have been, ends every lease, and closes every
pool until whoever still holds a node ID has lost it (max_ttl + quarantine +
stride of running without a restart). Nothing may serve the store meanwhile.

It reckons by the wall clock: see that it is right.`,
		Example: `  cirrus recover --data ./cirrus-data
  cirrus recover --data ./cirrus-data --yes`,
		RunE: func(cmd *cobra.Command, _ []string) error { return recoverStore(cmd) },
	}
	addData(cmd, "`directory` of the store")
	addStride(cmd)
	cmd.Flags().Bool("yes", false, "don't ask")
	return cmd
}

func recoverStore(cmd *cobra.Command) (err error) {
	dir, err := dataDir(cmd)
	if err != nil {
		return err
	}
	stride, err := cmd.Flags().GetDuration("stride")
	if err != nil {
		return err
	}
	st, err := pebble.Open(dir, storeOptions(cmd, quiet))
	if err != nil {
		return err
	}
	defer func() {
		if e := st.Close(); err == nil {
			err = e
		}
	}()
	snap, err := st.Load(cmd.Context())
	if err != nil {
		return err
	}
	batch, err := fencing.Recover(snap, wallClock(), stride)
	if err != nil {
		return err
	}
	if err := confirm(cmd, fmt.Sprintf("end all %d leases in %s and close its %d pools for a while", len(snap.Records), dir, len(snap.Pools))); err != nil {
		return err
	}
	if err := st.Commit(context.WithoutCancel(cmd.Context()), batch); err != nil {
		return err
	}
	cmd.Printf("recovered %s: its pools open once it has been served for max_ttl + quarantine + stride\n", dir)
	return nil
}

// confirm asks for a yes unless --yes has said it.
func confirm(cmd *cobra.Command, what string) error {
	yes, err := cmd.Flags().GetBool("yes")
	if err != nil || yes {
		return err
	}
	cmd.PrintErrf("This will %s. Type yes to go on: ", what)
	answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n') // an end without a line is no yes
	if strings.TrimSpace(answer) != "yes" {
		return fmt.Errorf("not confirmed, so nothing was changed: type yes, or pass --yes")
	}
	return nil
}
