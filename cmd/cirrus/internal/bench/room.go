package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store/etcd"
)

// etcdTime is how long etcd may take to answer when nothing is measured.
const etcdTime = 30 * time.Second

// room is a run's room in etcd: whatever is written there goes when the run
// ends.
type room struct {
	etcd      *clientv3.Client
	endpoints []string
	prefix    string
}

func openRoom(ctx context.Context, endpoints []string) (*room, error) {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails, as documented
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: etcdTime, Logger: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("etcd at %s can't be reached: %w; look at --etcd-endpoints", strings.Join(endpoints, ", "), err)
	}
	r := &room{etcd: c, endpoints: endpoints, prefix: "/cirrus-bench/" + hex.EncodeToString(random[:]) + "/"}
	if _, err := r.revision(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("etcd at %s does not answer: %w; look at --etcd-endpoints", strings.Join(endpoints, ", "), err), c.Close())
	}
	return r, nil
}

// close deletes what was written, even where the run was cut short.
func (r *room) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), etcdTime)
	defer cancel()
	_, err := r.etcd.Delete(ctx, r.prefix, clientv3.WithPrefix())
	return errors.Join(err, r.etcd.Close())
}

// revision is how many transactions have written to etcd so far, whoever's.
func (r *room) revision(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdTime)
	defer cancel()
	resp, err := r.etcd.Get(ctx, r.prefix, clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

// store makes a store with one pool that is open at once, and so many live
// leases, under a prefix of that name.
func (r *room) store(ctx context.Context, name string, pool fencing.Pool, records int) (prefix string, made fencing.Batch, err error) {
	prefix = r.prefix + name + "/"
	if made, err = newStore(pool); err != nil {
		return prefix, made, err
	}
	c, err := etcd.Open(etcd.Config{Endpoints: r.endpoints, Prefix: prefix, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return prefix, made, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Init(ctx, made); err != nil || records == 0 {
		return prefix, made, err
	}
	offline, err := c.Offline(ctx, etcd.Recovery)
	if err != nil {
		return prefix, made, err
	}
	return prefix, made, offline.Write(ctx, liveRecords(made, 0, records))
}

// transaction is what a grant would be if it went alone: a transaction that
// compares one key and writes another, as large as a record.
func (r *room) transaction(ctx context.Context) (operation, error) {
	guard := r.prefix + "guard"
	if _, err := r.etcd.Put(ctx, guard, "term"); err != nil {
		return nil, err
	}
	value := strings.Repeat("r", recordSize)
	return func(ctx context.Context, worker int) error {
		ctx, cancel := context.WithTimeout(ctx, etcdTime)
		defer cancel()
		resp, err := r.etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.Value(guard), "=", "term")).
			Then(clientv3.OpPut(fmt.Sprintf("%stxn/%d", r.prefix, worker), value)).
			Commit()
		if err == nil && !resp.Succeeded {
			err = errors.New("the key that is compared has changed")
		}
		return err
	}, nil
}
