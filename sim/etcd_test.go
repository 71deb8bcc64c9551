package sim

import (
	"context"
	"errors"
	"testing"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/storetest"
)

// driver runs a world in a goroutine of its own, in which others let things
// happen.
type driver struct {
	w     *world
	calls chan func()
	open  int // calls that have not returned
	done  chan struct{}
}

func drive(t *testing.T) *driver {
	ws := &kernel.Workers{}
	d := &driver{w: newWorld(plan.Config{Seed: 1, Profile: plan.Calm, Replicas: 1}, ws),
		calls: make(chan func()), done: make(chan struct{})}
	d.w.plan.PageSize = 3
	go func() {
		defer close(d.done)
		for d.turn() {
		}
		d.w.close()
		ws.Close()
	}()
	t.Cleanup(func() {
		close(d.calls)
		<-d.done
	})
	return d
}

// turn lets the next thing happen. Time passes only while somebody waits.
func (d *driver) turn() bool {
	if d.open == 0 {
		f, more := <-d.calls
		if more {
			f()
		}
		return more
	}
	select {
	case f := <-d.calls:
		f()
	default:
	}
	d.w.loop.Step()
	return true
}

// call does something as a process does; nil: a new one.
func (d *driver) call(p *kernel.Process, f func(*kernel.Process)) {
	done := make(chan struct{})
	d.calls <- func() {
		d.open++
		if p == nil {
			p = d.w.servers[0].machine.Process()
		}
		d.w.after(0, "call", func() {
			p.Start("call", func() {
				defer func() {
					d.open--
					close(done)
				}()
				f(p)
			})
		})
	}
	<-done
}

// reach gives a new process a connection to the store, and does something with it.
func (d *driver) reach(use func(*kernel.Process, *etcd.Cluster) error) (err error) {
	d.call(nil, func(p *kernel.Process) {
		_, c := d.w.servers[0].reach(p, kernel.NewClock(p),
			reader{d.w.dice("server random", p.Number)})
		err = use(p, c)
	})
	return err
}

// simulated is a store in the simulated etcd, as one process has it.
type simulated struct {
	d          *driver
	p          *kernel.Process
	term       store.Term
	cluster    *etcd.Cluster
	leadership store.Leadership
	closed     bool
}

func (s *simulated) Load(ctx context.Context) (snap fencing.Snapshot, err error) {
	s.d.call(s.p, func(*kernel.Process) { snap, err = s.term.Load(ctx) })
	return snap, err
}

func (s *simulated) Commit(ctx context.Context, b fencing.Batch) (err error) {
	s.d.call(s.p, func(*kernel.Process) { err = s.term.Commit(ctx, b) })
	return err
}

func (s *simulated) Confirm(ctx context.Context) (err error) {
	s.d.call(s.p, func(*kernel.Process) { err = s.term.Confirm(ctx) })
	return err
}

func (s *simulated) Close() (err error) {
	s.d.call(s.p, func(*kernel.Process) {
		if !s.closed {
			s.closed = true
			err = errors.Join(s.leadership.Resign(context.Background()), s.cluster.Close())
		}
	})
	return err
}

// TestEtcdConforms: the simulated etcd, with its network and its election, is a
// store like any other as long as nothing fails.
func TestEtcdConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Factory {
		d, ctx := drive(t), context.Background()
		return storetest.Factory{
			Create: func(meta fencing.Meta, pools []fencing.Pool) error {
				return d.reach(func(_ *kernel.Process, c *etcd.Cluster) error {
					return errors.Join(c.Init(ctx, fencing.Batch{Meta: &meta, Pools: pools}),
						c.Close())
				})
			},
			Open: func() (storetest.Store, error) {
				s := &simulated{d: d}
				err := d.reach(func(p *kernel.Process, c *etcd.Cluster) (err error) {
					s.p, s.cluster = p, c
					if s.leadership, err = c.Campaign(ctx); err == nil {
						s.term, err = s.leadership.TakeOver(ctx)
					}
					return err
				})
				if err != nil {
					return nil, err
				}
				return s, nil
			},
			Put: func(key, value []byte) error {
				return d.reach(func(_ *kernel.Process, c *etcd.Cluster) error {
					_, err := d.w.etcd.state.Txn(
						etcd.Txn{Ops: []etcd.Op{{Key: etcd.DefaultPrefix + string(key),
							Value: value, Delete: value == nil}}})
					return errors.Join(err, c.Close())
				})
			},
			Shared: true, MaxKeys: etcd.MaxOps,
			Rewrite: func(b fencing.Batch) error {
				return d.reach(func(_ *kernel.Process, c *etcd.Cluster) error {
					o, err := c.Offline(ctx, store.Recovery)
					if err == nil {
						err = o.Commit(ctx, b)
					}
					return errors.Join(err, c.Close())
				})
			},
		}
	})
}
