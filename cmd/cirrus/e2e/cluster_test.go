//go:build linux

package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/internal/etcdtest"
	"github.com/cirrus-id/cirrus/internal/history"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// long says whether each fault is tried as often and for as long as it has to be
// once in a while, instead of as it can be before each commit. It also holds the
// times that were measured against what they should be, for which the machine
// must have little else to do.
var long = os.Getenv("CIRRUS_CLUSTER") == "long"

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

const (
	restlessClients = 24
	faithfulClients = clients - restlessClients
)

// cluster is replicas over etcd members, with a proxy on every way, and clients
// at work.
type cluster struct {
	*testing.T
	etcd     *etcdtest.Cluster
	replicas []*replica
	obs      *observer
	crowd    *crowd
	probe    *lease
	keeping  sync.WaitGroup // who keeps the probe
	stop     context.CancelFunc
	spare    uint32 // the next node ID that no pool has
	seen     []string
}

// replica is a `cirrus serve` of several.
type replica struct {
	*process
	c               *cluster
	name            string
	listen, metrics string
	stores          []*proxy // to the etcd members
	clients         *proxy   // before it, for clients
	peers           *proxy   // before it, for the other replicas
	start           func() *process
}

// advertised is where the others reach it.
func (r *replica) advertised() string { return "http://" + r.peers.addr }

// url is where clients reach it.
func (r *replica) url() string { return "http://" + r.clients.addr }

const members = 3

// plan says what to start.
type plan struct {
	replicas int
	// run starts a replica; nil: with `cirrus serve`.
	run func(*replica) *process
	// back is how far server time may go back; 0: as with one wall clock.
	back time.Duration
}

// startCluster starts etcd, replicas, proxies and clients, all on loopback, which
// last as long as the test. It is for tests that run beside others: they wait
// most of the time.
func startCluster(t *testing.T, p plan) *cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("takes a minute or so")
	}
	t.Parallel()
	c := &cluster{T: t, etcd: etcdtest.Start(t, members, "--log-level", "error"), obs: newObserver(clusterQuarantine), spare: firstSpareID}
	c.obs.stale = clusterStride
	c.obs.back = max(c.obs.back, p.back)
	pool := clusterPools[0]
	c.must(done(c, "init", "--store", "etcd", "--etcd-endpoints", strings.Join(c.etcd.Endpoints(), ","),
		"--node-ids", fmt.Sprintf("%d-%d", pool.first, pool.last), "--layout", layout, "--stride", clusterStride.String(),
		"--ttl", pool.ttl.String(), "--max-ttl", keptTTL.String(), "--quarantine", clusterQuarantine.String()))
	for i := range p.replicas {
		r := c.newReplica(fmt.Sprintf("r%d", i))
		if p.run != nil {
			r.start = func() *process { return p.run(r) }
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

// done runs a cirrus that should succeed.
func done(t testing.TB, args ...string) error {
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

// newReplica prepares a replica with its proxies.
func (c *cluster) newReplica(name string) *replica {
	r := &replica{c: c, name: name, listen: freeAddr(c), metrics: freeAddr(c)}
	r.start = func() *process { return start(c, command(c, r.args()...)) }
	for _, endpoint := range c.etcd.Endpoints() {
		r.stores = append(r.stores, startProxy(c, strings.TrimPrefix(endpoint, "http://")))
	}
	r.clients, r.peers = startProxy(c, r.listen), startProxy(c, r.listen)
	return r
}

func (r *replica) endpoints() string {
	var all []string
	for _, p := range r.stores {
		all = append(all, "http://"+p.addr)
	}
	return strings.Join(all, ",")
}

func (r *replica) args() []string {
	return []string{"serve", "--store", "etcd", "--etcd-endpoints", r.endpoints(), "--stride", clusterStride.String(),
		"--advertise", r.advertised(), "--listen", r.listen, "--metrics-listen", r.metrics}
}

// begin starts the replica and waits until it answers.
func (r *replica) begin() {
	r.c.Helper()
	r.process = r.start()
	eventually(r.c, "an answer of "+r.name, func() bool {
		if r.ended() {
			r.c.Fatalf("%s has ended (%v):\n%s", r.name, r.ProcessState, r.stderr)
		}
		return answers(r.listen)
	})
}

// state is what the replica says that it is; "" if it says nothing.
func (r *replica) state() string { return r.side("/readyz") }

func (r *replica) side(path string) string {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + r.metrics + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body) // what came of it
	return strings.TrimSpace(string(body))
}

var leadingGauge = regexp.MustCompile(`(?m)^cirrus_leading 1$`)

// stable waits until one replica leads and all others that are asked follow it,
// and returns the leader.
func (c *cluster) stable(except ...*replica) *replica {
	c.Helper()
	return c.stableAmong(c.others(except...))
}

func (c *cluster) stableAmong(rs []*replica) *replica {
	c.Helper()
	var leader *replica
	var states []string
	for deadline := time.Now().Add(patience); ; time.Sleep(look) {
		leader, states = nil, nil
		following := map[string]int{}
		for _, r := range rs {
			state := r.state()
			states = append(states, r.name+": "+state)
			if state == "leading" {
				leader = r
			} else {
				following[state]++
			}
		}
		if leader != nil && following["following "+leader.advertised()] == len(rs)-1 && leadingGauge.MatchString(leader.side("/metrics")) {
			return leader
		}
		if time.Now().After(deadline) {
			c.Fatalf("after %v, there is no leader that all follow: %s", patience, strings.Join(states, "; "))
		}
	}
}

// others are all replicas but those.
func (c *cluster) others(than ...*replica) []*replica {
	var rest []*replica
next:
	for _, r := range c.replicas {
		for _, not := range than {
			if r == not {
				continue next
			}
		}
		rest = append(rest, r)
	}
	return rest
}

func (c *cluster) createPool(name string, first, last uint32, ttl time.Duration) {
	c.Helper()
	c.must(c.eventuallyDone("pool "+name, func(ctx context.Context, r *roamer) error {
		_, err := r.admin.CreatePool(ctx, &cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{
			Name: name, NodeIds: &cirrusv1.NodeRange{First: first, Last: last},
			Layout: &cirrusv1.Layout{OriginMs: origin, TimestampBits: 41, NodeBits: 10, SequenceBits: 2},
			Ttl:    durationpb.New(ttl), MaxTtl: durationpb.New(max(ttl, keptTTL)), Quarantine: durationpb.New(clusterQuarantine),
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

// eventuallyDone does something that may fail for a while.
func (c *cluster) eventuallyDone(what string, do func(context.Context, *roamer) error) error {
	return c.doneWithin(patience, what, do)
}

func (c *cluster) doneWithin(d time.Duration, what string, do func(context.Context, *roamer) error) error {
	r := c.roamer(0)
	for deadline := time.Now().Add(d); ; nap(c.Context(), 10*look) {
		err := within(c.Context(), restless.try, func(ctx context.Context) error { return do(ctx, r) })
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not done after %v: %w", what, d, err)
		}
		r.moveOn()
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

// newLease takes a lease for the test itself.
func (c *cluster) newLease(pool, app string) *lease {
	c.Helper()
	return c.newLeaseWithin(pool, app, patience)
}

// newLeaseWithin waits for longer, or not as long.
func (c *cluster) newLeaseWithin(pool, app string, d time.Duration) (l *lease) {
	c.Helper()
	req := &cirrusv1.AcquireRequest{Pool: pool, AppId: app, InstanceId: fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())}
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
	c.grantsGoOn()
	c.allKept()
	took := time.Duration(now() - began)
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

// ledBy says whether one of the replicas leads before an instant.
func (c *cluster) ledBy(rs []*replica, until instant) bool {
	for ; now() < until; nap(c.Context(), look) {
		for _, r := range rs {
			if r.state() == "leading" {
				return true
			}
		}
	}
	return false
}

// giveBack releases a lease of which nothing was used.
func (c *cluster) giveBack(l *lease) {
	c.Helper()
	last := l.floor - 1
	c.obs.releasing(l.grant, now(), &last)
	c.must(c.eventuallyDone("a release", func(ctx context.Context, r *roamer) error {
		sent := now()
		_, err := r.leases.Release(ctx, &cirrusv1.ReleaseRequest{
			Pool: l.pool, NodeId: l.node, Epoch: l.epoch, InstanceId: l.instance, LastTimestampMs: &last,
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
