package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store/pebble"
)

func appID(n int) string { return fmt.Sprintf("app-%07d", n) }

// instanceID is as long as 128 random bits in hex.
func instanceID(n int) string { return fmt.Sprintf("%032x", n) }

// store makes a store with one pool that is open at once, in a directory of
// that name.
func (b *bench) store(name string, pool fencing.Pool) (dir string, made fencing.Batch, err error) {
	if made, err = newStore(pool); err != nil {
		return "", made, err
	}
	dir = filepath.Join(b.dir, name)
	return dir, made, pebble.Create(dir, *made.Meta, made.Pools, pebble.Options{Logger: slog.New(slog.DiscardHandler)})
}

// newStore is the first batch of a store with one pool that is open at once.
func newStore(pool fencing.Pool) (fencing.Batch, error) {
	return fencing.NewStore(snowflake.Millis(time.Now().UnixMilli()), fencing.DefaultStride, true, pool)
}

// pair is a server that does nothing and a real one, and how to end them.
type pair struct{ nothing, real *child }

func (b *bench) startPair(ctx context.Context, name string) (*pair, error) {
	dir, _, err := b.store(name, fencing.NewPool(fencing.DefaultPool))
	if err != nil {
		return nil, err
	}
	p := &pair{}
	if p.nothing, err = b.start(ctx, Nothing, name); err != nil {
		return nil, err
	}
	if p.real, err = b.start(ctx, Real, name, "--data", dir); err != nil {
		return nil, errors.Join(err, p.nothing.end())
	}
	return p, nil
}

func (p *pair) end() error { return errors.Join(p.nothing.end(), p.real.end()) }

// held are leases, and the request that keeps each.
type held struct {
	requests []*cirrusv1.HeartbeatRequest
	leases   []*cirrusv1.Lease
}

// acquire leases so many node IDs. From a server that does nothing, too: what
// is sent to it later is as large as what is sent to a real one.
func acquire(ctx context.Context, addr string, n int) (h held, err error) {
	all, closeAll, err := conns(ctx, addr, min(n, inFlight))
	if err != nil {
		return h, err
	}
	defer closeAll()
	h.requests, h.leases = make([]*cirrusv1.HeartbeatRequest, n), make([]*cirrusv1.Lease, n)
	return h, each(len(all), func(worker int) error {
		for i := worker; i < n; i += len(all) {
			var resp cirrusv1.AcquireResponse
			req := &cirrusv1.AcquireRequest{AppId: appID(i), InstanceId: instanceID(i)}
			if err := all[worker].call(cirrusv1connect.LeaseServiceAcquireProcedure, req, &resp); err != nil {
				return err
			}
			h.leases[i] = resp.Lease
			h.requests[i] = &cirrusv1.HeartbeatRequest{
				Pool: resp.Lease.Pool, NodeId: resp.Lease.NodeId, Epoch: resp.Lease.Epoch, InstanceId: instanceID(i),
			}
		}
		return nil
	})
}
