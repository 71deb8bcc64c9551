package main

import (
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/location"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/serving"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// opened is a store that is open.
type opened interface{ Close() error }

// openStore opens the store that the flags name, and sets it in the service's
// config.
func openStore(cmd *cobra.Command, cfg *service.Config) (opened, error) {
	kind, err := location.Kind(cmd)
	if err != nil {
		return nil, err
	}
	if kind == location.OnEtcd {
		return openReplica(cmd, cfg)
	}
	st, err := openPebble(cmd, cfg.Logger)
	if err != nil {
		return nil, err
	}
	cfg.Store = st
	cfg.DiskSpace = func() (free, size uint64, known bool) {
		now, known := st.Space()
		return now.Free, now.Size, known
	}
	return st, nil
}

// openPebble opens the store that --data names, and creates one if there is none. A
// new store in a directory is suspicious (S7). A new one in memory is not, since
// there can't have been an earlier one.
func openPebble(cmd *cobra.Command, log *slog.Logger) (*pebble.Store, error) {
	dir, err := location.Directory(cmd)
	if err != nil {
		return nil, err
	}
	opts := location.PebbleOptions(cmd, log)
	if dir == location.Memory {
		batch, err := newStore(cmd, true)
		if err != nil {
			return nil, err
		}
		return pebble.OpenMemory(*batch.Meta, batch.Pools, opts)
	}
	st, err := pebble.Open(dir, opts)
	if !errors.Is(err, store.ErrNoStore) {
		return st, err
	}
	batch, err := newStore(cmd, false)
	if err != nil {
		return nil, err
	}
	if err := pebble.Create(dir, *batch.Meta, batch.Pools, opts); err != nil {
		return nil, err
	}
	return pebble.Open(dir, opts)
}

// openReplica opens the store in etcd that the flags name, as one of its replicas. It
// does not wait for etcd.
func openReplica(cmd *cobra.Command, cfg *service.Config) (*etcd.Cluster, error) {
	at, err := location.EtcdConfig(cmd, cfg.Logger)
	if err != nil {
		return nil, err
	}
	if at.Advertise, err = serving.Advertised(cmd, cfg.Logger); err != nil {
		return nil, err
	}
	// A setting that is not given stays as it is stored, which only the leader knows.
	if asked := cfg.DefaultPool.New(fencing.DefaultPool); cfg.DefaultPool.TTL != nil {
		if err := etcd.Admits(at.SessionTTL, []fencing.Pool{asked}); err != nil {
			return nil, exit.Usage(err)
		}
	}
	cfg.RoundTrips = service.NewRoundTrips()
	at.Observe = func(r etcd.RoundTrip) { cfg.RoundTrips.Observe(string(r.For), r.Took, r.Err) }
	c, err := etcd.Open(at)
	if err != nil {
		return nil, err
	}
	cfg.Cluster = c
	return c, nil
}
