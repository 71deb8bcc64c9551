package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/files"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/location"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/fencing"
)

// newInit returns the command that creates a store for which its operator vouches (S7).
func newInit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init {--data DIR | --store etcd --etcd-endpoints URLS}",
		Short: "Create a store whose pools are open at once",
		Long: `Init creates a store and vouches that nobody holds node IDs from an earlier
one: its pools grant at once. It fails where there is a store, so don't leave it in
a manifest: there it would vouch for the store that replaces a lost one.`,
		Example: `  cirrus init --data ./cirrus-data
  cirrus init --data ./cirrus-data --ttl 10s --quarantine 20s --node-ids 0-511
  cirrus init --store etcd --etcd-endpoints https://e1:2379,https://e2:2379,https://e3:2379`,
		RunE: func(cmd *cobra.Command, _ []string) error { return initStore(cmd) },
	}
	location.AddFlags(cmd, "`directory` to create the store in; must be missing or empty")
	location.AddStride(cmd)
	flags.AddNewPool(cmd)
	return cmd
}

func initStore(cmd *cobra.Command) error {
	defer exit.LimitInterrupt(cmd)()
	at, err := location.Chosen(cmd, output.NoLog)
	if err != nil {
		return err
	}
	batch, err := newStore(cmd, true)
	if err != nil {
		return err
	}
	if err := at.Admits(batch.Pools); err != nil {
		return err
	}
	files.CloseToOthers()
	if err := at.Create(cmd.Context(), batch); err != nil {
		return err
	}
	for i := range batch.Pools {
		l := batch.Pools[i].Layout
		cmd.Printf("pool %s: layout %s from %s lasts until %s\n", batch.Pools[i].Name, l,
			l.Origin.Time().Format(output.MillisLayout),
			l.LastTimestamp().Time().Format(output.MillisLayout))
	}
	cmd.Printf("created a store in %s; serve it with: cirrus serve %s%s\n", at, at.ServeWith,
		strideFlag(cmd))
	return nil
}

// strideFlag returns the flag for a stride that is not the default, which serve needs,
// too: the pool's quarantine may be too short for the default stride.
func strideFlag(cmd *cobra.Command) string {
	stride, err := cmd.Flags().GetDuration("stride")
	if err != nil || stride == fencing.DefaultStride {
		return ""
	}
	return fmt.Sprintf(" --stride %v", stride)
}
