package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/etcdtest"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/storetest"
)

var quiet = slog.New(slog.DiscardHandler)

// shared is one server for all tests that don't harm it, each with a prefix of its own.
var shared struct {
	once    sync.Once
	cluster *etcdtest.Cluster
	dir     string
	err     error
	tests   atomic.Int64
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.cluster != nil {
		shared.cluster.Kill()
		_ = os.RemoveAll(shared.dir)
	}
	if err := goleak.Find(
		goleak.IgnoreTopFunction(
			"github.com/cirrus-id/cirrus/internal/process.serve")); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func etcdShared(t testing.TB) *etcdtest.Cluster {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "cirrus-etcd-"); shared.err != nil {
			return
		}
		if shared.cluster, shared.err = etcdtest.New(
			etcdtest.Config{Dir: shared.dir}); shared.err == nil {
			shared.err = shared.cluster.Start()
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster
}

// config returns the config of a replica whose store is on the shared server, under a
// prefix of its own.
func config(t testing.TB) Config {
	return Config{
		Endpoints: etcdShared(t).Endpoints(),
		Prefix:    fmt.Sprintf("/test-%d/", shared.tests.Add(1)),
		Logger:    quiet,
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Factory {
		cfg := config(t)
		return storetest.Factory{
			Create: func(meta fencing.Meta, pools []fencing.Pool) error {
				c, err := Open(cfg)
				if err != nil {
					return err
				}
				defer c.Close()
				return c.Init(context.Background(), fencing.Batch{Meta: &meta, Pools: pools})
			},
			Open: func() (storetest.Store, error) { return openTerm(cfg) },
			Put: func(key, value []byte) error {
				return put(t, cfg, cfg.Prefix+string(key),
					value)
			},

			MaxKeys: MaxOps,
			Shared:  true,
			Rewrite: func(b fencing.Batch) error {
				c, err := Open(cfg)
				if err != nil {
					return err
				}
				defer c.Close()
				o, err := c.Offline(context.Background(), store.Recovery)
				if err != nil {
					return err
				}
				return o.Commit(context.Background(), b)
			},
		}
	})
}

// openTerm campaigns and takes over.
func openTerm(cfg Config) (_ storetest.Store, err error) {
	c, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	leadership, err := c.Campaign(ctx)
	if err != nil {
		return nil, err
	}
	term, err := leadership.TakeOver(ctx)
	if err != nil {
		return nil, err
	}
	return &served{term, c, leadership}, nil
}

// served is a term with a Close, as the suite needs it.
type served struct {
	store.Term
	cluster    *Cluster
	leadership store.Leadership
}

func (s *served) Close() error {
	if s.cluster.gate.check() != nil {
		return nil // closed already
	}
	return errors.Join(s.leadership.Resign(context.Background()), s.cluster.Close())
}

// etcdClient returns a client that bypasses the store.
func etcdClient(t testing.TB, endpoints ...string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// put writes a key without the store; a nil value deletes it.
func put(t testing.TB, cfg Config, key string, value []byte) (err error) {
	c := etcdClient(t, cfg.Endpoints...)
	if value == nil {
		_, err = c.Delete(context.Background(), key)
	} else {
		_, err = c.Put(context.Background(), key, string(value))
	}
	return err
}
