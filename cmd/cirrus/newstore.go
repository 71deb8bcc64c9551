package main

import (
	"crypto/rand"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// newStore returns a new store's first batch, with the default pool as the flags describe
// it.
func newStore(cmd *cobra.Command, vouched bool) (fencing.Batch, error) {
	change, err := flags.PoolChange(cmd.Flags())
	if err != nil {
		return fencing.Batch{}, err
	}
	stride, err := cmd.Flags().GetDuration("stride")
	if err != nil {
		return fencing.Batch{}, err
	}
	pool := change.New(fencing.DefaultPool)
	if r := change.Confirmed.ValidNew(pool); r != nil {
		return fencing.Batch{}, r
	}
	batch, err := fencing.NewStore(wallClock(), stride, vouched, pool)
	if err == nil {
		batch.Meta.ID = newStoreID()
	}
	return batch, err
}

func newStoreID() (id fencing.StoreID) {
	_, _ = rand.Read(id[:]) // never fails, as documented
	return id
}

func wallClock() snowflake.Millis { return snowflake.Millis(time.Now().UnixMilli()) }
