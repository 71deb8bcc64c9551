package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
)

// prefix is a place for a store in etcd.
type prefix struct{ etcd.Config }

func etcdPlace(cmd *cobra.Command) (prefix, error) {
	cfg, err := etcdConfig(cmd, output.NoLog)
	return prefix{cfg}, err
}

func (p prefix) String() string {
	return p.Prefix + " in etcd at " + strings.Join(p.Endpoints, ", ")
}

func (p prefix) serveWith() string {
	s := "--store etcd --etcd-endpoints " + strings.Join(p.Endpoints, ",")
	if p.Prefix != etcd.DefaultPrefix {
		s += " --etcd-prefix " + p.Prefix
	}
	return s + " --advertise URL"
}

// admits looks at S11 before the first replica would.
func (p prefix) admits(pools []fencing.Pool) error {
	for _, pool := range pools {
		if r := pool.ValidTTL(fencing.ShortestTTL(p.SessionTTL)); r != nil {
			return fmt.Errorf("the pool %q can't be served by replicas: %w", pool.Name, r)
		}
	}
	return nil
}

func (p prefix) create(ctx context.Context, b fencing.Batch) (err error) {
	c, err := etcd.Open(p.Config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return c.Init(ctx, b)
}

func (p prefix) toRecover(ctx context.Context, movedAway bool) (offline, error) {
	c, err := etcd.Open(p.Config)
	if err != nil {
		return nil, err
	}
	work := etcd.Recovery
	if movedAway {
		work = etcd.TakingBack
	}
	o, err := c.Offline(ctx, work)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return etcdOffline{o, c}, nil
}

// etcdOffline is a term in etcd that ends with its connection.
type etcdOffline struct {
	*etcd.Offline
	cluster *etcd.Cluster
}

// Commit writes a batch of any size, unlike the term's own.
func (o etcdOffline) Commit(ctx context.Context, b fencing.Batch) error { return o.Write(ctx, b) }

func (o etcdOffline) Close() error { return o.cluster.Close() }

func (p prefix) end() (end, error) {
	c, err := etcd.Open(p.Config)
	if err != nil {
		return nil, err
	}
	return &etcdEnd{prefix: p, cluster: c}, nil
}

// etcdEnd is a prefix in etcd as one end of a migration.
type etcdEnd struct {
	prefix
	cluster *etcd.Cluster
	term    *etcd.Offline // nil until something has to be read or written
}

func (e *etcdEnd) name() string { return e.String() }

// take begins a term, once.
func (e *etcdEnd) take(ctx context.Context) (err error) {
	if e.term == nil {
		e.term, err = e.cluster.Offline(ctx, etcd.Migration)
	}
	return err
}

func (e *etcdEnd) Load(ctx context.Context) (fencing.Snapshot, error) {
	if err := e.take(ctx); err != nil {
		return fencing.Snapshot{}, err
	}
	return e.term.Load(ctx)
}

func (e *etcdEnd) Commit(ctx context.Context, b fencing.Batch) error { return e.term.Commit(ctx, b) }

func (e *etcdEnd) Retire(ctx context.Context, m store.Move) error { return e.term.Retire(ctx, m) }

func (e *etcdEnd) Admits(pools []fencing.Pool) error { return e.admits(pools) }

func (e *etcdEnd) Receive(ctx context.Context, m store.Move, b fencing.Batch) error {
	if err := e.take(ctx); err != nil {
		return err
	}
	return e.term.Receive(ctx, m, b)
}

func (e *etcdEnd) Finish(ctx context.Context, m store.Move) error {
	if err := e.take(ctx); err != nil {
		return err
	}
	return e.term.Finish(ctx, m)
}

func (e *etcdEnd) Close() error { return e.cluster.Close() }
