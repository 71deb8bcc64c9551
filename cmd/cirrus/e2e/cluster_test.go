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

// long says that each fault is tried many times and for long. A brief run is short
// enough for each commit. A long one also checks the times that it measures, so the
// machine must not be busy.
var long = os.Getenv("CIRRUS_CLUSTER") == "long"

// asCluster marks a test of replicas on etcd. These tests have a make target of their
// own: several etcd members, replicas and dozens of clients beside all other tests
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

// either returns its first argument in a brief run, and its second in a long one.
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
// layout, so no two IDs of any pools may be equal. In the pool kept, clients never
// release a lease, and no test revokes one.
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
	// restless clients hold, mint, release and acquire again.
	restless = habits{
		pools: []string{"default", "default", "tight"}, try: 3 * time.Second,
		hold: [2]time.Duration{200 * time.Millisecond, 5 * time.Second},
		turn: [2]time.Duration{30 * time.Millisecond, 90 * time.Millisecond},
		ask:  [2]time.Duration{clusterTTL, keptTTL}, askOften: 0.3,
		waitOften: 0.5, vanish: 0.05, revoke: 0.001, stall: 0.001, stallTimes: 2, bunch: 0.25,
	}
	// faithful clients keep their leases.
	faithful = habits{
		pools: []string{"kept"}, try: 3 * time.Second,
		hold:  [2]time.Duration{time.Hour, time.Hour + 1},
		turn:  [2]time.Duration{50 * time.Millisecond, 150 * time.Millisecond},
		bunch: 0.5,
	}
)

// restlessClients is how many clients are restless; the others are faithful.
const restlessClients = 24

// cluster is replicas on etcd members, with a proxy on every connection, and clients
// that use them.
type cluster struct {
	*testing.T
	etcd     *etcdtest.Cluster
	replicas []*replica
	obs      *observer
	crowd    *crowd
	first    int // the replica that the test's own calls try first
	probe    *lease
	keeping  sync.WaitGroup // the goroutine that keeps the probe
	stop     context.CancelFunc
	spare    uint32 // the next node ID that no pool has
	seen     []string
}

const members = 3

// plan says how to start a cluster.
type plan struct {
	replicas int
	// run starts a replica; nil: with `cirrus serve`.
	run func(*replica) *program
	// deposed: a deposed leader may run beside its successor, and not know of it for a
	// stride.
	deposed bool
	// back is how far server time may go back; 0: as far as with one wall clock.
	back time.Duration
}

// startCluster starts etcd, replicas, proxies and clients on loopback, and ends them
// with the test. Such tests run in parallel, because they wait most of the time.
func startCluster(t *testing.T, p plan) *cluster {
	t.Helper()
	asCluster(t)
	c := &cluster{T: t, etcd: etcdtest.Start(t, members, "--log-level", "error"),
		obs: newObserver(clusterQuarantine), spare: firstSpareID}
	if p.deposed {
		c.obs.stale = clusterStride
	}
	c.obs.back = max(c.obs.back, p.back)
	pool := clusterPools[0]
	c.must(succeed(c, "init", "--store", "etcd",
		"--etcd-endpoints", strings.Join(c.etcd.Endpoints(), ","),
		"--node-ids", fmt.Sprintf("%d-%d", pool.first, pool.last), "--layout", layout,
		"--stride", clusterStride.String(),
		"--ttl", pool.ttl.String(), "--max-ttl", keptTTL.String(),
		"--quarantine", clusterQuarantine.String()))
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

// employ starts the clients.
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

// keepProbe keeps the lease of the heartbeats that the test itself sends.
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

// grantOne acquires a node ID and releases it.
func (c *cluster) grantOne() {
	c.Helper()
	c.giveBack(c.newLease("default", "visitor"))
}

// grantsGoOn waits for new grants.
func (c *cluster) grantsGoOn() {
	c.Helper()
	want := c.obs.count().grants + 5
	eventually(c, "new grants", func() bool { return c.obs.count().grants >= want })
}

// settle ends all faults, and waits until one replica leads, all others follow, each
// answers, there are new grants, and no acknowledged lease is missing. It returns how
// long that took.
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

// saw adds a line to the table of results.
func (c *cluster) saw(fault, format string, args ...any) {
	c.Helper()
	c.seen = append(c.seen, fmt.Sprintf("%-44s %s", fault, fmt.Sprintf(format, args...)))
	c.Logf("%v %s: %s", now(), fault, fmt.Sprintf(format, args...))
}

// judge waits until enough has happened, and checks all of it.
func (c *cluster) judge() {
	c.Helper()
	eventually(c, "enough grants and heartbeats to judge by", func() bool {
		n := c.obs.count()
		return n.grants >= 2*clients && n.changedIDs > 0 && n.heartbeats > 0
	})
	c.verdict()
}

// verdict stops the clients and checks the whole history.
func (c *cluster) verdict() {
	c.Helper()
	c.stop()
	ids := c.crowd.wait()
	c.keeping.Wait()
	n := c.obs.count()
	c.Logf(
		"%d grants, %d node IDs changed holder %d times, %d heartbeats (%d after the deadline), %d released, %d revoked, %d lost, %d IDs minted; seen:\n%s",
		n.grants, n.changedIDs, n.changes, n.heartbeats, n.revived, n.released, n.revoked, n.lost,
		len(ids), strings.Join(c.seen, "\n"))
	judge(c.T, c.obs, ids)
}
