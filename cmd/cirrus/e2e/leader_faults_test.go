//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the times after a leader's end should be.
const (
	killedTime   = 8 * time.Second
	killedMedian = 6500 * time.Millisecond
	resignedTime = 500 * time.Millisecond
)

// TestClusterLeaderDies ends leaders in the ways in which processes end, many times
// over, under clients.
func TestClusterLeaderDies(t *testing.T) {
	c := startCluster(t, plan{replicas: 3})
	c.killLeader(either(2, 30))
	c.terminateLeader(either(2, 30))
	c.judge()
}

// killLeader: a kill -9 of the leader costs no holder its lease.
func (c *cluster) killLeader(times int) {
	var took []time.Duration
	for range times {
		leader := c.stable()
		killed := now()
		leader.kill(c)
		took = append(took, c.answered(killed, c.others(leader), leader))
		c.stable(leader)
		leader.begin()
		c.allKept()
	}
	c.settle()
	c.report("SIGKILL the leader", took, killedTime, killedMedian)
	c.nobodyLapsed("SIGKILL the leader")
}

// terminateLeader: a leader that is told to stop lets another lead at once.
func (c *cluster) terminateLeader(times int) {
	var took []time.Duration
	for range times {
		leader := c.stable()
		told := now()
		leader.signal(c, syscall.SIGTERM)
		took = append(took, c.answered(told, c.others(leader), leader))
		if code := leader.exit(c, stopTime); code != 0 {
			c.Fatalf("%s: exit code %d after SIGTERM:\n%s", leader.name, code, leader.Log())
		}
		c.stable(leader)
		leader.begin()
	}
	c.settle()
	c.report("SIGTERM the leader", took, resignedTime, resignedTime)
	c.nobodyLapsed("SIGTERM the leader")
}

// allKept waits until each holder has kept its lease again, so that a fault meets
// holders that know of none before it.
func (c *cluster) allKept() {
	c.Helper()
	const left = keptTTL - keptTTL/3 - 2*time.Second // the least that one has in good times
	eventually(c, "good heartbeats of all holders",
		func() bool { return c.obs.nearest("kept") > now().add(left) })
}

// report tells of times, and holds them against what they should be.
func (c *cluster) report(fault string, took []time.Duration, most, median time.Duration) {
	c.Helper()
	slices.Sort(took)
	middle, last := took[len(took)/2], took[len(took)-1]
	c.saw(fault, "%d times; first heartbeat answered after %v, median %v, at most %v", len(took),
		took[0], middle, last)
	if long && (last > most || middle > median) {
		c.Errorf("%s: median %v and at most %v, want %v and %v; all: %v", fault, middle, last,
			median, most, took)
	}
}

// nobodyLapsed: of those who keep their leases none has been without for a
// moment.
func (c *cluster) nobodyLapsed(fault string) {
	c.Helper()
	for _, l := range c.obs.lapsed("kept") {
		c.Errorf("%s: a deadline passed under a holder that was at work: %s", fault, l)
	}
	c.nobodyLost(fault)
}

// nobodyLost: of those who keep their leases none has lost one.
func (c *cluster) nobodyLost(fault string) {
	c.Helper()
	if n := c.obs.lostIn("kept"); n > 0 {
		c.Errorf("%s: %d holders that were at work lost their leases", fault, n)
	}
}

// TestClusterLeaderStops stops leaders and lets them go on beside their successors.
func TestClusterLeaderStops(t *testing.T) {
	c := startCluster(t, plan{replicas: 3, deposed: true})
	if long {
		c.stopLeader(5*time.Second, fault{})
		c.stopLeader(20*time.Second, fault{})
		c.stopLeader(90*time.Second, fault{})
	}
	c.stopLeader(12*time.Second, cutHeld)
	c.judge()
}

// stopLeader stops the leader for a while. Its successor gives away what it
// knew as held; so when it goes on, with questions before it on connections that
// it has known for long, it may answer none of them from memory: not even if it
// is cut off from etcd, so that nothing tells it that it leads no more.
func (c *cluster) stopLeader(d time.Duration, then fault) {
	name := fmt.Sprintf("SIGSTOP the leader for %v", d)
	if then != (fault{}) {
		name += ", then cut it off from etcd"
	}
	pool := c.poolOfOne(fmt.Sprintf("stopped-%d", c.spare))
	old := c.newLease(pool, "old")
	leader := c.stable()
	qs := c.questions(leader, old)

	leader.freeze(c)
	stopped := now()
	next, events := c.succeedStopped(leader, old, stopped.add(d))
	for now() < stopped.add(d) {
		if next != nil {
			c.beatOnce(next) // or it would be somebody else's by then
		}
		nap(c.Context(), min(clusterTTL/3, d-time.Duration(now()-stopped)))
	}
	c.send(qs, next)
	for _, p := range leader.stores {
		c.must(p.impose(then))
	}
	leader.thaw(c)
	for _, q := range qs {
		events = append(events, q.reply())
	}
	if next != nil && qs[0].err == nil {
		c.Errorf("%s: it kept a lease whose node ID is another's", name)
	}
	if next != nil {
		c.beatOnce(next)
		c.giveBack(next)
	} else {
		c.giveBack(old)
	}
	events = append(events, fmt.Sprintf("all as before after %v", ms3(c.settle())))
	c.saw(name, "%s", strings.Join(events, "; "))
	c.nobodyLapsed(name)
}

// succeedStopped waits for the successor of a leader that stands still, if it is
// to do so for long enough that there is one, and gives a node ID to another: by
// waiting until its lease has run out if there is time for that, or else after a
// release.
func (c *cluster) succeedStopped(leader *replica, old *lease, until instant) (next *lease,
	events []string) {
	c.Helper()
	c.elsewhere(leader)
	stopped := now()
	d := time.Duration(until - stopped)
	if d < 2*sessionTTL {
		return nil, []string{"no successor is waited for"}
	}
	took := c.answered(stopped, c.others(leader), leader)
	if d < took+clusterStride+clusterTTL+clusterQuarantine+sessionTTL {
		c.giveBack(old)
	}
	next = c.newLeaseWithin(old.pool, "next", d)
	return next, []string{
		fmt.Sprintf("first heartbeat answered after %v", ms3(took)),
		fmt.Sprintf("the node ID went to another after %v", ms3(time.Duration(now()-stopped))),
	}
}
