//go:build linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// TestClusterSameAddress lets two replicas advertise the same address, which leads to
// one of them: it may cost answers, and nothing else, and it is told.
func TestClusterSameAddress(t *testing.T) {
	c := startCluster(t, plan{replicas: 2})
	leader := c.stable()
	namesake := c.others(leader)[0]
	const message = "advertises the same address as this one"

	// A follower with the address of the leader passes nothing on.
	twin := c.newReplica("twin of the leader")
	twin.peers = leader.peers
	twin.begin()
	twin.says(message, leader.advertised())
	c.saw("a follower that advertises the leader's address", "%s; it says: %s",
		c.refused(twin, connect.CodeUnavailable), message)
	c.settle()
	twin.terminate(c)

	// A leader with the address of a follower is not found by the others. The
	// follower begins anew, so that the twin is before it in the line.
	twin = c.newReplica("twin of a follower")
	twin.peers = namesake.peers
	twin.begin()
	eventually(c, "the twin following",
		func() bool { return twin.state() == "following "+leader.advertised() })
	namesake.terminate(c)
	namesake.begin()
	c.stable()
	leader.terminate(c)
	eventually(c, "the twin leading", func() bool { return twin.state() == "leading" })
	namesake.says(message, namesake.advertised())
	_, err := c.beat(c.Context(), newRoamer([]string{twin.url()}, connectProto, 0).replicaClients,
		c.probe, timeout)
	c.must(err)
	answer := c.refused(namesake, connect.CodeUnavailable)
	twin.terminate(c)
	leader.begin()
	back := c.settle()
	c.saw("a leader that advertises a follower's address",
		"the follower: %s, and it says: %s; all as before %v after it was stopped", answer, message,
		ms3(back))
	c.nobodyLost("two replicas with the same address")
	c.judge()
}

// says waits until the replica has said something, in one line.
func (r *replica) says(words ...string) {
	r.c.Helper()
	eventually(r.c, fmt.Sprintf("%s says %q", r.name, words), func() bool {
	lines:
		for line := range strings.Lines(r.Log()) {
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue lines
				}
			}
			return true
		}
		return false
	})
}

// refused asks a replica for what it must refuse with a code, and returns what
// it said.
func (c *cluster) refused(r *replica, code connect.Code) string {
	c.Helper()
	to := newRoamer([]string{r.url()}, connectProto, 0)
	sent := now()
	resp, err := to.leases.Acquire(c.Context(),
		&cirrusv1.AcquireRequest{AppId: "misled",
			InstanceId: fmt.Sprintf("%032x", rand.Uint64())})
	if err == nil {
		c.obs.granted(sent, sent, now(), resp.Lease)
		c.Errorf("%s grants %v", r.name, resp.Lease)
		return ""
	}
	if connect.CodeOf(err) != code {
		c.Errorf("%s answers %v, want %v", r.name, err, code)
	}
	return fmt.Sprintf("%q", err.Error())
}

// TestClusterOtherStore lets replicas of another store, under another prefix of the
// same etcd, pass their requests on to replicas of this one.
func TestClusterOtherStore(t *testing.T) {
	c := startCluster(t, plan{replicas: 2})
	const prefix = "/other/"
	c.must(succeed(c, "init", "--store", "etcd",
		"--etcd-endpoints", strings.Join(c.etcd.Endpoints(), ","), "--etcd-prefix", prefix))
	other := func(name string, peers *proxy) *replica {
		r := c.newReplica(name)
		if peers != nil {
			r.peers = peers
		}
		r.start = func() *program {
			return start(c,
				command(c, append(r.args(), "--etcd-prefix", prefix)...))
		}
		r.begin()
		return r
	}
	for _, ours := range c.replicas { // the leader, and one that follows
		role, _, _ := strings.Cut(ours.state(), " ")
		liar := other("leader of another store", ours.peers)
		eventually(c, "it leads", func() bool { return liar.state() == "leading" })
		follower := other("follower in another store", nil)
		eventually(c, "it follows",
			func() bool {
				return strings.HasPrefix(follower.state(),
					"following "+ours.advertised())
			})
		answer := c.refused(follower, connect.CodeUnavailable)
		follower.says("leads to a replica of another store", ours.advertised())
		if state := follower.state(); !strings.Contains(state,
			"a replica of another store answers there") {
			c.Errorf("/readyz of the one that follows another store's: %q", state)
		}
		ours.says("a replica of another store forwards them")
		c.saw("another store's replicas pass on to one "+role,
			"%s; both sides say so in their logs", answer)
		follower.terminate(c)
		liar.terminate(c)
	}
	c.settle()
	_, admin := dial(c.replicas[0].url(), connectProto)
	for _, p := range clusterPools {
		rows, err := listing(c.Context(), admin, p.name)
		c.must(err)
		for _, row := range rows {
			if row.AppId == "misled" {
				c.Errorf("a request of another store was done: %v", row)
			}
		}
	}
	c.nobodyLapsed("another store's replicas")
	c.judge()
}

// TestClusterClocksApart lets replicas lead by turns whose wall clocks are minutes
// apart.
func TestClusterClocksApart(t *testing.T) {
	offs := []time.Duration{9 * time.Minute, 0, -7 * time.Minute}
	i := 0
	off := map[*replica]time.Duration{}
	c := startCluster(t, plan{replicas: len(offs), back: clusterStride,
		run: func(r *replica) *program {
			if _, known := off[r]; !known {
				off[r] = offs[i]
				i++
			}
			cmd := command(t, r.args()...)
			cmd.Path = filepath.Join(filepath.Dir(cmd.Path), "offclock")
			cmd.Args = append([]string{cmd.Path, "-off", off[r].String()}, r.args()[3:]...)
			return start(t, cmd)
		}})
	led := map[time.Duration]bool{}
	var seen []string
	for range either(3, 12) {
		leader := c.stable()
		led[off[leader]] = true
		seen = append(seen, fmt.Sprintf("%v: offset %v", off[leader],
			leader.clockOffset().Round(time.Second)))
		c.grantsGoOn()
		if rand.IntN(2) == 0 {
			leader.terminate(c)
		} else {
			leader.kill(c)
		}
		c.stable(leader)
		leader.begin()
	}
	c.settle()
	if len(led) < 2 {
		c.Errorf("only those led whose clocks were off by %v", led)
	}
	c.saw("clocks minutes apart", "led by: %s; server time went back by at most %v",
		strings.Join(seen, ", "), c.obs.count().wentBack)
	c.nobodyLapsed("clocks minutes apart")
	c.judge()
}

var offsetGauge = regexp.MustCompile(`(?m)^cirrus_clock_offset_seconds (\S+)$`)

// clockOffset is what a leader's metrics say of its wall clock.
func (r *replica) clockOffset() time.Duration {
	r.c.Helper()
	found := offsetGauge.FindStringSubmatch(r.side("/metrics"))
	if found == nil {
		r.c.Fatalf("%s does not say how far off its clock is", r.name)
	}
	s, err := strconv.ParseFloat(found[1], 64)
	r.c.must(err)
	return time.Duration(s * float64(time.Second))
}
