package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/files"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/location"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// newRecover returns the command that makes a store suspicious again that was restored
// from a copy (S7).
func newRecover() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recover {--data DIR | --store etcd --etcd-endpoints URLS}",
		Short: "Make a store that was restored from a copy safe to serve",
		Long: `Recover is for a store that was restored from a copy, or that has lost a write:
it doesn't know what was granted and promised since. Recover raises its mark and
its epochs above all that can have been used, ends every lease, and closes every
pool until those who still hold a node ID have lost it. That takes the longest TTL
that the pool ever had + quarantine + stride of running without a restart. Nothing
may serve the store meanwhile.

Recover uses the wall clock: check that it is right. It also uses the longest TTL
that each pool ever had, as far as the copy knows it. If max_ttl was raised after
the copy was taken, give its highest value with --longest-ttl.

With --moved-away it takes back a store that cirrus migrate moved to another
location, when the store there is lost or given up. What is still here is treated
as an old copy, taken when the store was moved. Stop the other store first, and
never serve it again, or two stores grant the same node IDs. If its pools were
given a longer max_ttl or it was served with a longer stride, give these with
--longest-ttl and --stride. Other changes at the other location are lost: pools
that were created there, and node IDs that were added to a pool.`,
		Example: `  cirrus recover --data ./cirrus-data
  cirrus recover --data ./cirrus-data --longest-ttl 24h --yes
  cirrus recover --data ./cirrus-data --moved-away
  cirrus recover --store etcd --etcd-endpoints https://e1:2379,https://e2:2379,https://e3:2379`,
		RunE: func(cmd *cobra.Command, _ []string) error { return recoverStore(cmd) },
	}
	location.AddFlags(cmd, "`directory` of the store")
	location.AddStride(cmd)
	cmd.Flags().Duration("longest-ttl", 0,
		"the highest max_ttl of any pool since the copy was taken, if it was raised, up to 720h")
	cmd.Flags().Bool("moved-away", false,
		"take back a store that was migrated away; the other one must never be served again")
	cmd.Flags().Bool("yes", false, "don't ask")
	return cmd
}

func recoverStore(cmd *cobra.Command) (err error) {
	defer exit.LimitInterrupt(cmd)()
	at, err := location.Chosen(cmd, output.Warnings(cmd))
	if err != nil {
		return err
	}
	stride, err := cmd.Flags().GetDuration("stride")
	if err != nil {
		return err
	}
	longest, err := cmd.Flags().GetDuration("longest-ttl")
	if err != nil {
		return err
	}
	movedAway, err := cmd.Flags().GetBool("moved-away")
	if err != nil {
		return err
	}
	files.CloseToOthers()
	work := store.Recovery
	if movedAway {
		work = store.TakingBack
	}
	st, err := at.Open(cmd.Context(), work)
	if err != nil {
		return withTakingBack(err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	snap, err := st.Load(cmd.Context())
	if err != nil {
		return withTakingBack(err)
	}
	batch, err := fencing.Recover(snap, wallClock(), stride, longest)
	if err != nil {
		return err
	}
	for i := range batch.Pools {
		p := &batch.Pools[i]
		cmd.Printf(
			"pool %s: its longest TTL is taken to be %v; it opens once it has been served for %v\n",
			p.Name, p.LongestTTL, p.Suspicion(batch.Meta.Stride, batch.Meta.SuspectFor))
	}
	what := fmt.Sprintf("end all %d leases in %s and close its %d pools for a while",
		len(snap.Records), at, len(snap.Pools))
	if movedAway {
		// Both locations hold a whole store. From now on these are two stores.
		batch.Meta.ID = newStoreID()
		what = fmt.Sprintf(
			"take back %s, which was moved away: the store that it became may have granted leases since, and must never be served again. It will %s", at, what)
	}
	q := output.Question{
		Text:   fmt.Sprintf("This will %s. Type yes to go on", what),
		Answer: "yes",
		Vouch:  fmt.Sprintf("this would %s; if that is meant, say so with --yes", what),
	}
	if err := q.Confirm(cmd); err != nil {
		return err
	}
	if err := st.Commit(context.WithoutCancel(cmd.Context()), batch); err != nil {
		return err
	}
	cmd.Printf("recovered %s\n", at)
	return nil
}

// withTakingBack adds to a MovedError how the store is taken back.
func withTakingBack(err error) error {
	if !errors.As(err, new(*store.MovedError)) {
		return err
	}
	return fmt.Errorf(
		"%w; if that one is lost or given up for good, take this one back with --moved-away", err)
}
