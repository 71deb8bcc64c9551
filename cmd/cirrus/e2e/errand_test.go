//go:build linux

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/internal/history"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

func (c *cluster) createPool(name string, first, last uint32, ttl time.Duration) {
	c.Helper()
	c.must(c.eventuallyDone("pool "+name, func(ctx context.Context, r *roamer) error {
		_, err := r.admin.CreatePool(ctx, &cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{
			Name: name, NodeIds: &cirrusv1.NodeRange{First: first, Last: last},
			Layout: &cirrusv1.Layout{OriginMs: origin, TimestampBits: 41, NodeBits: 10,
				SequenceBits: 2},
			Ttl: durationpb.New(ttl), MaxTtl: durationpb.New(max(ttl, keptTTL)),
			Quarantine: durationpb.New(clusterQuarantine),
		}})
		return err
	}))
}

// poolOfOne creates a pool with one node ID, for a row of its own.
func (c *cluster) poolOfOne(name string) string {
	c.Helper()
	c.createPool(name, c.spare, c.spare, clusterTTL)
	c.spare++
	return name
}

// roamer goes round all replicas.
func (c *cluster) roamer(first int) *roamer { return newRoamer(c.urls(), connectProto, first) }

func (c *cluster) urls() []string {
	var all []string
	for _, r := range c.replicas {
		all = append(all, r.url())
	}
	return all
}

// elsewhere has the test's own errands begin with another replica than that one.
func (c *cluster) elsewhere(than *replica) {
	c.first = (slices.Index(c.replicas, than) + 1) % len(c.replicas)
}

// eventuallyDone does something that may fail for a while.
func (c *cluster) eventuallyDone(what string, do func(context.Context, *roamer) error) error {
	return c.doneWithin(timeout, what, do)
}

func (c *cluster) doneWithin(d time.Duration, what string,
	do func(context.Context, *roamer) error) error {
	r := c.roamer(c.first)
	for deadline := time.Now().Add(d); ; nap(c.Context(), 10*pollEvery) {
		err := within(c.Context(), restless.try,
			func(ctx context.Context) error { return do(ctx, r) })
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not done after %v: %w", what, d, err)
		}
		r.moveOn()
	}
}

// newLease takes a lease for the test itself.
func (c *cluster) newLease(pool, app string) *lease {
	c.Helper()
	return c.newLeaseWithin(pool, app, timeout)
}

// newLeaseWithin waits for longer, or not as long.
func (c *cluster) newLeaseWithin(pool, app string, d time.Duration) (l *lease) {
	c.Helper()
	req := &cirrusv1.AcquireRequest{Pool: pool, AppId: app,
		InstanceId: fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())}
	asked := now()
	c.must(c.doneWithin(d, "a lease in "+pool, func(ctx context.Context, r *roamer) error {
		sent := now()
		resp, err := r.leases.Acquire(ctx, req)
		if err == nil {
			a := answer{resp.Lease, sent, now()}
			l = (&client{}).begin(c.obs.granted(asked, sent, a.received, a.Lease), a)
		}
		return err
	}))
	return l
}

// giveBack releases a lease of which nothing was used.
func (c *cluster) giveBack(l *lease) {
	c.Helper()
	last := l.floor - 1
	c.obs.releasing(l.grant, now(), &last)
	c.must(c.eventuallyDone("a release", func(ctx context.Context, r *roamer) error {
		sent := now()
		_, err := r.leases.Release(ctx, &cirrusv1.ReleaseRequest{
			Pool: l.pool, NodeId: l.node, Epoch: l.epoch, InstanceId: l.instance,
			LastTimestampMs: &last,
		})
		c.obs.called(l.grant, history.Release, sent, now(), outcome(err))
		return err
	}))
	c.obs.wasReleased(l.grant, now())
}

// beatOnce keeps a lease of the test's own.
func (c *cluster) beatOnce(l *lease) {
	c.Helper()
	c.must(c.eventuallyDone("a heartbeat", func(ctx context.Context, r *roamer) error {
		_, err := c.beat(ctx, r.replicaClients, l, restless.try)
		return err
	}))
}
