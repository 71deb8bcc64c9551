package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// place is where a store is, or is to be, for the commands that work on a store
// while nobody serves it.
type place interface {
	// String names it to a person.
	String() string
	// serveWith are the flags of cirrus serve that name it.
	serveWith() string
	// admits refuses pools that could not be served there.
	admits(pools []fencing.Pool) error
	// create makes a store where there is none.
	create(ctx context.Context, first fencing.Batch) error
	// toRecover opens the store to rewrite it, so that nobody serves it meanwhile.
	toRecover(ctx context.Context) (offline, error)
}

// offline is a store that one command has for itself.
type offline interface {
	Load(ctx context.Context) (fencing.Snapshot, error)
	// Commit makes a batch of any size durable.
	Commit(ctx context.Context, b fencing.Batch) error
	Close() error
}

// chosenPlace is the place that --store and the flags that go with it name.
func chosenPlace(cmd *cobra.Command) (place, error) {
	kind, err := chosenStore(cmd)
	if err != nil {
		return nil, err
	}
	if kind == onEtcd {
		return etcdPlace(cmd)
	}
	dir, err := dataDir(cmd)
	if err != nil {
		return nil, err
	}
	return directory{dir, storeOptions(cmd, quiet)}, nil
}

// directory is a place for a store on one machine.
type directory struct {
	dir  string
	opts pebble.Options
}

func (d directory) String() string { return d.dir }

func (d directory) serveWith() string { return "--data " + d.dir }

func (d directory) admits([]fencing.Pool) error { return nil }

func (d directory) create(_ context.Context, b fencing.Batch) error {
	return pebble.Create(d.dir, *b.Meta, b.Pools, d.opts)
}

func (d directory) toRecover(context.Context) (offline, error) {
	st, err := pebble.Open(d.dir, d.opts)
	if err != nil {
		return nil, err // and not a nil *Store in the interface
	}
	return st, nil
}

// prefix is a place for a store in etcd.
type prefix struct{ etcd.Config }

func etcdPlace(cmd *cobra.Command) (prefix, error) {
	cfg, err := etcdConfig(cmd, quiet)
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

func (p prefix) toRecover(ctx context.Context) (offline, error) {
	c, err := etcd.Open(p.Config)
	if err != nil {
		return nil, err
	}
	o, err := c.Offline(ctx, etcd.Recovery)
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
