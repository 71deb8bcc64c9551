//go:build linux

package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestClusterCuts cuts leaders off: from etcd, from clients, from the other replicas,
// and one way only.
func TestClusterCuts(t *testing.T) {
	c := startCluster(t, plan{replicas: 3, deposed: true})
	for _, cut := range either(cutsFromStore[:1], cutsFromStore) {
		c.cutFromStore("the leader cut off from etcd, "+cut.name, cut.fault)
	}
	c.deposeUnseen()
	c.cutFromClients("the leader cut off from clients", cutHeld)
	if long {
		c.cutFromClients("the leader refuses clients", cutRefused)
		c.cutFromPeers()
		c.cutFromBoth()
	}
	c.judge()
}

var cutsFromStore = []struct {
	name  string
	fault fault
}{
	{"answers held", answersCut}, // what was under way is done, and it can't know
	{"all held", cutHeld},
	{"requests held", requestsCut},
	{"answers lost", answersLost},
	{"all lost", cutLost},
	{"refused", cutRefused},
}

// cutFromStore: a leader that hears nothing of etcd may keep leases for at most a
// stride, and no lease whose node ID another has. Then it says that it can't,
// or passes on what it is asked if it hears who leads; and all others go on.
func (c *cluster) cutFromStore(name string, f fault) {
	leader := c.stable()
	witness := c.newLease("kept", "witness")
	asking, stop := context.WithCancel(c.Context())
	defer stop()
	var last promises
	last.watch(asking, c, leader, witness)

	cut := now()
	for _, p := range leader.stores {
		c.must(p.impose(f))
	}
	took := c.answered(cut, c.others(leader), leader)
	// Longer than the stride, so that it has to stop, and for a while more.
	nap(c.Context(), clusterStride+2*time.Second-time.Duration(now()-cut))
	stop()
	alone := last.wait() - cut
	if time.Duration(alone) > clusterStride {
		c.Errorf("%s: it kept a lease by itself %v after the cut", name, alone)
	}
	c.giveBack(witness)
	back := c.settle()
	c.saw(
		name, "another answered after %v; it kept leases by itself for %v; all as before after %v",
		ms3(took), ms3(time.Duration(alone)), ms3(back))
	c.nobodyLapsed(name)
}

// deposeUnseen lets two lead at once: the session of a leader that is cut off
// from etcd is ended there, so that it has a successor long before it can know.
// For a stride it may keep leases; it may not say that one is lost, or that there
// is none to be had, or what there is, for others may have changed that.
func (c *cluster) deposeUnseen() {
	const name = "the leader cut off and deposed at once"
	leader := c.stable()
	pool := c.poolOfOne(fmt.Sprintf("deposed-%d", c.spare))
	old := c.newLease(pool, "old")
	qs := c.questions(leader, old)
	cut := now()
	for _, p := range leader.stores {
		c.must(p.impose(cutHeld))
	}
	c.elsewhere(leader)
	c.endSession()
	took := c.answered(cut, c.others(leader), leader)
	c.giveBack(old)
	next := c.newLease(pool, "next")
	c.send(qs, next)
	asked := time.Duration(now() - cut)
	var told []string
	for _, q := range qs {
		told = append(told, q.reply())
	}
	c.beatOnce(next)
	c.giveBack(next)
	back := c.settle()
	c.saw(name, "another answered after %v; asked %v after the cut: %s; all as before after %v",
		ms3(took), ms3(asked), strings.Join(told, "; "), ms3(back))
	c.nobodyLapsed(name)
}

// ms3 is a duration in milliseconds, to be read.
func ms3(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// promises are those that one replica makes by itself.
type promises struct {
	last instant // when the last one's request was sent
	done sync.WaitGroup
}

// watch asks a replica, past the proxies, again and again.
func (p *promises) watch(ctx context.Context, c *cluster, r *replica, l *lease) {
	leases, admin := dial("http://"+r.listen, connectProto)
	p.done.Go(func() {
		for ctx.Err() == nil {
			sent := now()
			if by, err := c.beat(ctx, replicaClients{leases, admin}, l, restless.try); err == nil &&
				by == "" {
				p.last = sent
			}
			nap(ctx, 50*time.Millisecond)
		}
	})
}

// wait returns when the last one was asked for, once nobody asks any more.
func (p *promises) wait() instant {
	p.done.Wait()
	return p.last
}

// cutFromClients: whom clients can't reach they go round, and the leader leads
// on through the others.
func (c *cluster) cutFromClients(name string, f fault) {
	leader := c.stable()
	cut := now()
	c.must(leader.clients.impose(f))
	took := c.answered(cut, c.others(leader), nil)
	c.grantsGoOn()
	nap(c.Context(), either(3*time.Second, 10*time.Second)-time.Duration(now()-cut))
	if c.stable() != leader {
		c.Errorf("%s: another one leads", name)
	}
	back := c.settle()
	c.saw(name, "the others answered after %v; it led on; all as before after %v", ms3(took),
		ms3(back))
	c.nobodyLapsed(name)
}

// cutFromPeers: where the others can't pass requests on, clients go to the
// leader itself.
func (c *cluster) cutFromPeers() {
	const name = "the leader cut off from the other replicas"
	leader := c.stable()
	cut := now()
	c.must(leader.peers.impose(cutHeld))
	took := c.answered(cut, []*replica{leader}, nil)
	c.grantsGoOn()
	nap(c.Context(), clusterStride)
	back := c.settle()
	c.saw(name, "it answered after %v; all as before after %v", ms3(took), ms3(back))
	c.nobodyLapsed(name)
}

// cutFromBoth: nobody reaches a leader that etcd hears. It costs the time that it
// lasts, and nothing else.
func (c *cluster) cutFromBoth() {
	const name = "the leader cut off from all but etcd"
	leader := c.stable()
	c.must(leader.clients.impose(cutHeld))
	c.must(leader.peers.impose(cutHeld))
	nap(c.Context(), clusterStride)
	back := c.settle()
	c.saw(name, "for %v; all as before after %v", clusterStride, ms3(back))
	c.nobodyLapsed(name)
}
