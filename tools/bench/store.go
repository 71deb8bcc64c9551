package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/etcdtest"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// etcdTimeout is how long etcd may take to answer outside of measurements.
const etcdTimeout = 30 * time.Second

var quiet = slog.New(slog.DiscardHandler)

// recordSize is about the size of a lease's record in the store's log, in bytes.
const recordSize = 160

func defaultPool() fencing.Pool { return fencing.NewPool(fencing.DefaultPool) }

// millionPool returns a pool with a million node IDs.
func millionPool() fencing.Pool {
	p := defaultPool()
	p.Layout.NodeBits, p.Layout.SequenceBits = 20, 2
	p.Last = p.Layout.MaxNode()
	return p
}

func appID(n int) string { return fmt.Sprintf("app-%07d", n) }

// instanceID returns a text as long as 128 random bits in hex.
func instanceID(n int) string { return fmt.Sprintf("%032x", n) }

// made is the first batch of a store with one pool, which is open at once.
type made fencing.Batch

func newStore(pool fencing.Pool) made {
	return made(
		must(fencing.NewStore(snowflake.Millis(time.Now().UnixMilli()), fencing.DefaultStride, true,
			pool)))
}

// record returns the record of live lease n.
func (m made) record(n int) fencing.Record {
	p := m.Pools[0]
	return fencing.Record{
		Pool: p.Name, Node: snowflake.NodeID(n), Epoch: m.Meta.FirstEpoch + fencing.Epoch(n),
		App: fencing.AppID(appID(n)), Instance: fencing.InstanceID(instanceID(n)).Hash(),
		TTL: p.TTL, Status: fencing.Live, Floor: m.Meta.Mark, Ceiling: m.Meta.Mark.Add(p.TTL),
	}
}

// records returns the records of the leases from one number up to another.
func (m made) records(from, to int) (b fencing.Batch) {
	for n := from; n < to; n++ {
		b.Records = append(b.Records, m.record(n))
	}
	return b
}

// localStore is a store in a directory.
type localStore struct {
	made
	dir string
}

// store creates a store in a directory of the measurement's own.
func (r *measuring) store(pool fencing.Pool) *localStore {
	s := &localStore{made: newStore(pool), dir: filepath.Join(r.dir, r.name)}
	check(pebble.Create(s.dir, *s.Meta, s.Pools, pebble.Options{Logger: quiet}))
	return s
}

// fill writes live leases in large batches.
func (s *localStore) fill(ctx context.Context, records int) {
	const batch = 20_000
	st := must(pebble.Open(s.dir, pebble.Options{Logger: quiet}))
	for from := 0; from < records; from += batch {
		if err := st.Commit(ctx, s.records(from, min(from+batch, records))); err != nil {
			check(errors.Join(err, st.Close()))
		}
	}
	check(st.Close())
}

// room is where the run writes in etcd. It is emptied at the end.
type room struct {
	etcd      *clientv3.Client
	endpoints []string
	prefix    string
	stop      func() // ends the etcd that was started for the run
}

// openRoom opens a room in the etcd at the endpoints or, without any, in one that it
// starts, with its data in dir.
func openRoom(ctx context.Context, endpoints []string, dir string) (_ *room, err error) {
	r := &room{endpoints: endpoints, prefix: "/cirrus-bench/" + hex.EncodeToString(random(8)) + "/",
		stop: func() {}}
	if len(endpoints) == 0 {
		cluster, err := startEtcd(dir)
		if err != nil {
			return nil, err
		}
		r.endpoints, r.stop = cluster.Endpoints(), cluster.Kill
	}
	names := strings.Join(r.endpoints, ", ")
	if r.etcd, err = clientv3.New(clientv3.Config{Endpoints: r.endpoints, DialTimeout: etcdTimeout,
		Logger: zap.NewNop()}); err != nil {
		r.stop()
		return nil, fmt.Errorf("connecting to etcd at %s: %w; check --etcd-endpoints", names, err)
	}
	if _, err := r.revision(ctx); err != nil {
		err = errors.Join(err, r.etcd.Close())
		r.stop()
		return nil, fmt.Errorf("etcd at %s does not answer: %w; check --etcd-endpoints", names, err)
	}
	return r, nil
}

// startEtcd starts an etcd as operators run it: three members that sync their disks
// and have etcd's default timings.
func startEtcd(dir string) (*etcdtest.Cluster, error) {
	cluster, err := etcdtest.New(etcdtest.Config{
		Dir: dir, Members: 3, Sync: true,
		Args: []string{"--heartbeat-interval", "100", "--election-timeout", "1000"},
	})
	if err != nil {
		return nil, err
	}
	return cluster, cluster.Start()
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, as documented
	return b
}

// close deletes what was written, even if the run was interrupted.
func (r *room) close() error {
	defer r.stop()
	ctx, cancel := context.WithTimeout(context.Background(), etcdTimeout)
	defer cancel()
	_, err := r.etcd.Delete(ctx, r.prefix, clientv3.WithPrefix())
	return errors.Join(err, r.etcd.Close())
}

// revision returns the number of transactions that have written to etcd so far,
// those of other programs included.
func (r *room) revision(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	resp, err := r.etcd.Get(ctx, r.prefix, clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

// storeInEtcd creates a store with so many live leases, under a prefix of the
// measurement's own.
func (r *measuring) storeInEtcd(pool fencing.Pool, records int) (prefix string, m made) {
	prefix, m = r.etcd.prefix+r.name+"/", newStore(pool)
	c := must(etcd.Open(etcd.Config{Endpoints: r.etcd.endpoints, Prefix: prefix, Logger: quiet}))
	check(errors.Join(m.writeTo(r.ctx, c, records), c.Close()))
	return prefix, m
}

func (m made) writeTo(ctx context.Context, c *etcd.Cluster, records int) error {
	if err := c.Init(ctx, fencing.Batch(m)); err != nil || records == 0 {
		return err
	}
	offline, err := c.Offline(ctx, store.Recovery)
	if err != nil {
		return err
	}
	return offline.Commit(ctx, m.records(0, records))
}

// transaction returns an operation that does for one grant what a leader would do
// that did not gather grants: a transaction that compares a key and writes another
// one, as large as a record.
func (r *room) transaction(ctx context.Context) operation {
	guard := r.prefix + "guard"
	_ = must(r.etcd.Put(ctx, guard, "term"))
	value := strings.Repeat("r", recordSize)
	return func(ctx context.Context, worker int) error {
		ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
		defer cancel()
		resp, err := r.etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.Value(guard), "=", "term")).
			Then(clientv3.OpPut(fmt.Sprintf("%stxn/%d", r.prefix, worker), value)).
			Commit()
		if err == nil && !resp.Succeeded {
			err = errors.New("another program has changed the key that is compared")
		}
		return err
	}
}
