//go:build linux

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cirrusclient "github.com/cirrus-id/cirrus/client"
	"github.com/cirrus-id/cirrus/internal/etcdtest"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

const (
	// memberStopped is longer than a keepalive takes to find out that a member
	// stands still (12 s): all that is better than this is the client's own doing.
	memberStopped = 14 * time.Second
	// heartbeatGap and grantGap are the longest times without a good answer at any
	// one replica while a member stands still.
	heartbeatGap = 3 * time.Second
	grantGap     = 5 * time.Second
	// stopHolders is how many client.Hold keep leases meanwhile.
	stopHolders = 24
)

// memberStops are the members to stop, counted from etcd's leader.
var memberStops = []struct {
	what string
	from int
}{
	{"a follower", 1},
	{"etcd's leader", 0},
}

// TestClusterMemberStops stops one etcd member of three at a time, which keeps its
// connections open: a follower, and etcd's leader. At no replica are there long
// gaps between good answers, and no holder's lease expires at the shortest TTL
// that goes with the replicas' session TTL (S11).
func TestClusterMemberStops(t *testing.T) {
	asCluster(t)
	for _, session := range either([]time.Duration{2 * time.Second},
		[]time.Duration{2 * time.Second, sessionTTL}) {
		t.Run(fmt.Sprintf("session_%v", session), func(t *testing.T) {
			t.Parallel()
			stopMembers(t, session)
		})
	}
}

func stopMembers(t *testing.T, session time.Duration) {
	ttl := 4 * session // the shortest that S11 allows
	etcd := etcdtest.Start(t, members, "--log-level", "error")
	urls := startReplicas(t, etcd, session, ttl)
	held := holdMany(t, strings.Join(urls, ","))
	var table []string
	for _, stop := range slices.Repeat(memberStops, either(1, 2)) {
		leader, err := etcd.Leader()
		if err != nil {
			t.Fatal(err)
		}
		beats, grants := stopMember(t, etcd.Member((leader+stop.from)%members), urls, session)
		expired, left := held.taken()
		table = append(table, fmt.Sprintf("%-12v%-12v%-15s%-14v%-10v%-12v%d of %d", session, ttl,
			stop.what, ms3(beats), ms3(grants), ms3(left), len(expired), stopHolders))
		if beats > heartbeatGap || grants > grantGap {
			t.Errorf(
				"%s stopped: the longest gap between good heartbeats was %v, between grants %v; want at most %v and %v", stop.what, beats, grants, heartbeatGap, grantGap)
		}
		for _, e := range expired {
			t.Errorf("%s stopped: a holder at work: %v: %v", stop.what, e.Change, e.Err)
		}
	}
	t.Logf("gaps at the worst of three replicas:\n%-12s%-12s%-15s%-14s%-10s%-12s%s\n%s",
		"session TTL", "lease TTL", "stopped", "heartbeats", "grants", "least left",
		"expired", strings.Join(table, "\n"))
}

// startReplicas starts three replicas, and returns their URLs.
func startReplicas(t *testing.T, etcd *etcdtest.Cluster, session,
	ttl time.Duration) (urls []string) {
	t.Helper()
	store := []string{"--store", "etcd", "--etcd-endpoints", strings.Join(etcd.Endpoints(), ","),
		"--etcd-session-ttl", session.String(), "--stride", "2s"}
	if err := succeed(
		t, append([]string{"init", "--ttl", ttl.String(), "--max-ttl", ttl.String(), "--quarantine",
			"2s"}, store...)...); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s := &server{addr: freeAddr(t)}
		s.program = start(t, command(t,
			append([]string{"serve", "--listen", s.addr, "--advertise", s.url(),
				"--metrics-listen="}, store...)...))
		s.awaitListening(t, s.addr)
		urls = append(urls, s.url())
	}
	return urls
}

// stopMember stops a member for a while, and returns the longest gaps between
// good answers of any replica, from before it until after.
func stopMember(t *testing.T, m *etcdtest.Member, urls []string, around time.Duration) (beats,
	grants time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked askers
	for _, url := range urls {
		asked.employ(ctx, t, url)
	}
	nap(ctx, around)
	if err := m.Freeze(); err != nil {
		t.Fatal(err)
	}
	nap(ctx, memberStopped)
	if err := m.Thaw(); err != nil {
		t.Fatal(err)
	}
	nap(ctx, around)
	cancel()
	beats, grants = asked.wait()
	if err := m.Await(); err != nil {
		t.Fatal(err)
	}
	return beats, grants
}

// askers ask one replica each, all the time.
type askers struct {
	running       sync.WaitGroup
	mu            sync.Mutex
	beats, grants time.Duration // the longest gaps at any of them
}

// employ asks a replica for heartbeats of one lease, and for grants.
func (a *askers) employ(ctx context.Context, t *testing.T, url string) {
	leases, _ := dial(url, connectProto)
	kept, err := leases.Acquire(ctx, &cirrusv1.AcquireRequest{AppId: "kept"})
	if err != nil {
		t.Fatal(err)
	}
	a.ask(ctx, &a.beats, time.Second, func(ctx context.Context) error {
		l := kept.Lease
		_, err := leases.Heartbeat(ctx,
			&cirrusv1.HeartbeatRequest{NodeId: l.NodeId, Epoch: l.Epoch, InstanceId: l.InstanceId})
		return err
	})
	a.ask(ctx, &a.grants, callTime, func(ctx context.Context) error {
		got, err := leases.Acquire(ctx, &cirrusv1.AcquireRequest{AppId: "visitor"})
		if err == nil {
			l, unused := got.Lease, got.Lease.FloorMs-1
			_, err = leases.Release(ctx,
				&cirrusv1.ReleaseRequest{NodeId: l.NodeId, Epoch: l.Epoch, InstanceId: l.InstanceId,
					LastTimestampMs: &unused})
		}
		return err
	})
}

// ask asks again and again, and keeps the longest time between two good answers.
func (a *askers) ask(ctx context.Context, gap *time.Duration, try time.Duration,
	do func(context.Context) error) {
	a.running.Go(func() {
		good := now()
		for ctx.Err() == nil {
			err := within(ctx, try, do)
			if at := now(); err == nil || ctx.Err() != nil {
				a.mu.Lock()
				*gap = max(*gap, time.Duration(at-good))
				a.mu.Unlock()
				good = at
			}
			nap(ctx, 10*pollEvery)
		}
	})
}

// wait returns the longest gaps, once all have stopped asking.
func (a *askers) wait() (beats, grants time.Duration) {
	a.running.Wait()
	return a.beats, a.grants
}

// holders are those of client.Hold.
type holders struct {
	mu      sync.Mutex
	expired []cirrusclient.Event
	least   time.Duration
}

// holdMany holds leases until the test ends.
func holdMany(t *testing.T, target string) *holders {
	t.Helper()
	h := &holders{}
	h.taken()
	for i := range stopHolders {
		holder, err := cirrusclient.Hold(t.Context(), target, fmt.Sprintf("holder-%d", i),
			cirrusclient.OnChange(func(e cirrusclient.Event) {
				if e.Change != cirrusclient.Held && e.Change != cirrusclient.Released {
					h.mu.Lock()
					defer h.mu.Unlock()
					h.expired = append(h.expired, e)
				}
			}))
		if err != nil {
			t.Fatal(err)
		}
		var watching sync.WaitGroup
		watching.Go(func() { h.watch(t.Context(), holder) })
		t.Cleanup(func() {
			watching.Wait() // the test's context has ended
			_ = holder.Release(context.Background())
		})
	}
	return h
}

// watch notes the least time that a holder has left.
func (h *holders) watch(ctx context.Context, holder *cirrusclient.Holder) {
	for ctx.Err() == nil {
		left := holder.Remaining()
		h.mu.Lock()
		h.least = min(h.least, left)
		h.mu.Unlock()
		nap(ctx, 10*pollEvery)
	}
}

// taken returns what has happened since the last call.
func (h *holders) taken() (expired []cirrusclient.Event, least time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	expired, least = h.expired, h.least
	h.expired, h.least = nil, time.Hour
	return expired, least
}
