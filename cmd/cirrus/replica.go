package main

import (
	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/serving"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/store/etcd"
)

// openReplica reaches for the store in etcd that the flags name, as one replica
// of it. It doesn't wait for etcd.
func openReplica(cmd *cobra.Command, cfg *service.Config) (*etcd.Cluster, error) {
	at, err := etcdConfig(cmd, cfg.Logger)
	if err != nil {
		return nil, err
	}
	if at.Advertise, err = serving.Advertised(cmd, cfg.Logger); err != nil {
		return nil, err
	}
	// What isn't given is as it is stored, so only the leader can know.
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
