//go:build linux

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/internal/etcdtest"
)

// long says whether each fault is tried as often and for as long as it has to be
// once in a while, instead of as it can be before each commit. It also holds the
// times that were measured against what they should be, for which the machine
// must have little else to do.
var long = os.Getenv("CIRRUS_CLUSTER") == "long"

// asCluster marks a test of replicas on etcd. They have a target of their own:
// several etcd members, replicas and dozens of clients beside all other tests
// would measure the machine.
func asCluster(t *testing.T) {
	t.Helper()
	switch form := os.Getenv("CIRRUS_CLUSTER"); form {
	case "brief", "long":
	case "":
		t.Skip("CIRRUS_CLUSTER is not set to brief or long: `make test-cluster` runs it")
	default:
		t.Fatalf("CIRRUS_CLUSTER is %q: give brief or long", form)
	}
	t.Parallel()
}

// either picks by the form of the run.
func either[T any](short, whole T) T {
	if long {
		return whole
	}
	return short
}

// Timings. The shortest TTL that goes with the election's session TTL of 5 s is
// 20 s (S11). The quarantine is as short as the stride allows.
const (
	clusterStride     = 10 * time.Second
	clusterQuarantine = 10 * time.Second
	clusterTTL        = 20 * time.Second
	keptTTL           = 30 * time.Second
	sessionTTL        = 5 * time.Second
)

// The pools of a cluster. No two have a node ID in common, and all have one
// layout, so no two IDs of all may be equal. The clients of kept never give a
// lease up, nor does anyone take it from them.
var clusterPools = []struct {
	name        string
	first, last uint32
	ttl         time.Duration
}{
	{"default", 0, 255, clusterTTL},
	{"tight", 256, 263, clusterTTL},
	{"kept", 264, 327, keptTTL},
}

const firstSpareID = 328

var (
	// restless are clients that hold, mint, release and re-acquire.
	restless = habits{
		pools: []string{"default", "default", "tight"}, try: 3 * time.Second,
		hold: [2]time.Duration{200 * time.Millisecond, 5 * time.Second},
		turn: [2]time.Duration{30 * time.Millisecond, 90 * time.Millisecond},
		ask:  [2]time.Duration{clusterTTL, keptTTL}, askOften: 0.3,
		waitOften: 0.5, vanish: 0.05, revoke: 0.001, stall: 0.001, stallTimes: 2, bunch: 0.25,
	}
	// faithful ones keep what they have.
	faithful = habits{
		pools: []string{"kept"}, try: 3 * time.Second,
		hold:  [2]time.Duration{time.Hour, time.Hour + 1},
		turn:  [2]time.Duration{50 * time.Millisecond, 150 * time.Millisecond},
		bunch: 0.5,
	}
)

// restlessClients are as many of all clients; the others are faithful.
const restlessClients = 24

// cluster is replicas over etcd members, with a proxy on every way, and clients
// at work.
type cluster struct {
	*testing.T
	etcd     *etcdtest.Cluster
	replicas []*replica
	obs      *observer
	crowd    *crowd
	first    int // where the test's own errands begin
	probe    *lease
	keeping  sync.WaitGroup // who keeps the probe
	stop     context.CancelFunc
	spare    uint32 // the next node ID that no pool has
	seen     []string
}

const members = 3

// plan says what to start.
type plan struct {
	replicas int
	// run starts a replica; nil: with `cirrus serve`.
	run func(*replica) *program
	// deposed: a leader may live on beside its successor, and not know of it
	// for a stride.
	deposed bool
	// back is how far server time may go back; 0: as with one wall clock.
	back time.Duration
}

// startCluster starts etcd, replicas, proxies and clients, all on loopback, which
// last as long as the test. It is for tests that run beside others: they wait
// most of the time.
func startCluster(t *testing.T, p plan) *cluster {
	t.Helper()
	asCluster(t)
	c := &cluster{T: t, etcd: etcdtest.Start(t, members, "--log-level", "error"), obs: newObserver(clusterQuarantine), spare: firstSpareID}
	if p.deposed {
		c.obs.stale = clusterStride
	}
	c.obs.back = max(c.obs.back, p.back)
	pool := clusterPools[0]
	c.must(succeed(c, "init", "--store", "etcd", "--etcd-endpoints", strings.Join(c.etcd.Endpoints(), ","),
		"--node-ids", fmt.Sprintf("%d-%d", pool.first, pool.last), "--layout", layout, "--stride", clusterStride.String(),
		"--ttl", pool.ttl.String(), "--max-ttl", keptTTL.String(), "--quarantine", clusterQuarantine.String()))
	for i := range p.replicas {
		r := c.newReplica(fmt.Sprintf("r%d", i))
		if p.run != nil {
			r.start = func() *program { return p.run(r) }
		}
		r.begin()
		c.replicas = append(c.replicas, r)
	}
	c.stable()
	for _, p := range clusterPools[1:] {
		c.createPool(p.name, p.first, p.last, p.ttl)
	}
	c.employ()
	return c
}

// succeed runs a cirrus to its end.
func succeed(t testing.TB, args ...string) error {
	t.Helper()
	if code, _, stderr := run(t, args...); code != 0 {
		return fmt.Errorf("cirrus %v: exit code %d:\n%s", args, code, stderr)
	}
	return nil
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// employ lets the clients begin.
func (c *cluster) employ() {
	c.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	c.Logf("the clients' choices repeat with -seed %d", seed)
	var ctx context.Context
	ctx, c.stop = context.WithCancel(c.Context())
	c.Cleanup(c.stop)
	c.probe = c.newLease("kept", "probe")
	c.keeping.Go(func() { c.keepProbe(ctx) })
	c.crowd = &crowd{}
	for i := range clients {
		h := faithful
		if i < restlessClients {
			h = restless
		}
		c.crowd.employ(ctx, &client{
			observer: c.obs, roamer: newRoamer(c.urls(), i, i/len(ways)), habits: h,
			rng: rand.New(rand.NewPCG(seed, uint64(i)+2)),
		})
	}
	c.grantsGoOn()
}

// keepProbe keeps the lease that heartbeats are tried with.
func (c *cluster) keepProbe(ctx context.Context) {
	r := c.roamer(0)
	for ctx.Err() == nil {
		if _, err := c.beat(ctx, r.replicaClients, c.probe, restless.try); err != nil {
			r.moveOn()
			nap(ctx, 100*time.Millisecond)
			continue
		}
		nap(ctx, keptTTL/10)
	}
}

// grantOne sees a node ID granted, and gives it back.
func (c *cluster) grantOne() {
	c.Helper()
	c.giveBack(c.newLease("default", "visitor"))
}

// grantsGoOn waits until there are some that were not there before.
func (c *cluster) grantsGoOn() {
	c.Helper()
	want := c.obs.count().grants + 5
	eventually(c, "new grants", func() bool { return c.obs.count().grants >= want })
}

// settle ends all faults and waits until everything is as it was before them:
// one leads, all follow, each answers, grants go on, and nothing is forgotten.
// It returns how long that took.
func (c *cluster) settle() time.Duration {
	c.Helper()
	began := now()
	for _, r := range c.replicas {
		for _, p := range append([]*proxy{r.clients, r.peers}, r.stores...) {
			c.must(p.impose(fault{}))
		}
	}
	c.must(c.etcd.Start())
	c.stable()
	for _, r := range c.replicas {
		c.answered(began, []*replica{r}, nil)
	}
	c.grantOne()
	took := time.Duration(now() - began)
	c.grantsGoOn()
	c.allKept()
	for _, r := range c.replicas {
		eventually(c, "a listing through "+r.name, func() bool { return c.audit(r) })
	}
	if c.obs.failed() {
		c.verdict()
		c.FailNow()
	}
	return took
}

// audit compares what a replica lists with what was acknowledged.
func (c *cluster) audit(r *replica) bool {
	_, admin := dial(r.url(), connectProto)
	for _, p := range clusterPools {
		want := c.obs.expect(p.name)
		rows, err := listing(c.Context(), admin, p.name)
		if err != nil {
			return false
		}
		c.obs.audit(want, now(), rows)
	}
	return true
}

// saw notes a line of the table of what was seen.
func (c *cluster) saw(fault, format string, args ...any) {
	c.Helper()
	c.seen = append(c.seen, fmt.Sprintf("%-44s %s", fault, fmt.Sprintf(format, args...)))
	c.Logf("%v %s: %s", now(), fault, fmt.Sprintf(format, args...))
}

// judge waits until enough has happened to judge by, and looks at all of it.
func (c *cluster) judge() {
	c.Helper()
	eventually(c, "enough to judge by", func() bool {
		n := c.obs.count()
		return n.grants >= 2*clients && n.changedIDs > 0 && n.heartbeats > 0
	})
	c.verdict()
}

// verdict stops the clients and looks at the whole history.
func (c *cluster) verdict() {
	c.Helper()
	c.stop()
	ids := c.crowd.wait()
	c.keeping.Wait()
	n := c.obs.count()
	c.Logf("%d grants, %d node IDs changed holder %d times, %d heartbeats (%d after the deadline), %d released, %d revoked, %d lost, %d IDs minted; seen:\n%s",
		n.grants, n.changedIDs, n.changes, n.heartbeats, n.revived, n.released, n.revoked, n.lost, len(ids), strings.Join(c.seen, "\n"))
	judge(c.T, c.obs, ids)
}
