package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

var _ store.Location = (*Location)(nil)

// Location is a prefix in etcd that a store has, or is to have.
type Location struct {
	Config
	// Connect returns a cluster for one method; it is closed afterwards. nil: Open
	// with the Config. A test may connect to another KV.
	Connect func() (*Cluster, error)
}

// NewLocation returns the location of the prefix. It checks the Config, and doesn't
// connect.
func NewLocation(cfg Config) (*Location, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Location{Config: cfg}, nil
}

// String implements store.Location.
func (l *Location) String() string {
	return l.Prefix + " in etcd at " + strings.Join(l.Endpoints, ", ")
}

// Admits implements store.Location.
func (l *Location) Admits(pools []fencing.Pool) error { return Admits(l.SessionTTL, pools) }

// Admits returns an error if replicas whose election has that session TTL can't
// serve the pools (S11).
func Admits(sessionTTL time.Duration, pools []fencing.Pool) error {
	for _, pool := range pools {
		if r := pool.ValidTTL(fencing.ShortestTTL(sessionTTL)); r != nil {
			return fmt.Errorf("the pool %q can't be served by replicas: %w", pool.Name, r)
		}
	}
	return nil
}

func (l *Location) connect() (*Cluster, error) {
	if l.Connect != nil {
		return l.Connect()
	}
	return Open(l.Config)
}

// Create implements store.Location.
func (l *Location) Create(ctx context.Context, first fencing.Batch) error {
	c, err := l.connect()
	if err != nil {
		return err
	}
	return errors.Join(c.Init(ctx, first), c.Close())
}

// Open implements store.Location.
func (l *Location) Open(ctx context.Context, w store.Work) (store.Offline, error) {
	c, err := l.connect()
	if err != nil {
		return nil, err
	}
	o, err := c.Offline(ctx, w)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return o, nil
}

// Receive implements store.Location.
func (l *Location) Receive(ctx context.Context, m store.Move, b fencing.Batch) error {
	return l.migrate(ctx, func(o *Offline) error { return o.Receive(ctx, m, b) })
}

// Finish implements store.Location.
func (l *Location) Finish(ctx context.Context, m store.Move) error {
	return l.migrate(ctx, func(o *Offline) error { return o.Finish(ctx, m) })
}

// migrate does one step of a migration in a term of its own.
func (l *Location) migrate(ctx context.Context, do func(*Offline) error) error {
	c, err := l.connect()
	if err != nil {
		return err
	}
	o, err := c.Offline(ctx, store.Migration)
	if err == nil {
		err = do(o)
	}
	return errors.Join(err, c.Close())
}
