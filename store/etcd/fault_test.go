package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/etcdtest"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/storetest"
)

// TestMembersDie kills each member of etcd in turn, and their leader. No acknowledged write
// is lost, and a replica leads again by itself.
func TestMembersDie(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	cfg := Config{Endpoints: cluster.Endpoints(), Timeout: time.Second}
	c := open(t, cfg)
	leadership := campaign(t, c)
	term := takeOver(t, leadership)
	if err := term.Create(context.Background(), firstBatch()); err != nil {
		t.Fatal(err)
	}
	j := storetest.NewJournal(storetest.Meta(), storetest.Pool("p"))
	epoch := fencing.Epoch(0)
	terms := 1
	// grants commits n grants, in as many terms as that takes.
	grants := func(n int) {
		for n > 0 {
			epoch++
			b := grant(int(epoch%100), epoch)
			id := j.Begin(b)
			err := term.Commit(context.Background(), b)
			if err == nil {
				j.Acknowledge(id)
				n--
				continue
			}
			leadership, term, _ = comeBack(t, c, leadership)
			terms++
		}
	}
	kill := func(i int) {
		grants(50)
		cluster.Member(i).Kill()
		grants(50)
		if err := cluster.Member(i).Restart(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		kill(i)
	}
	leader, err := cluster.Leader()
	if err != nil {
		t.Fatal(err)
	}
	kill(leader)
	grants(50)
	cluster.Kill()
	if err := cluster.Start(); err != nil {
		t.Fatal(err)
	}
	grants(50)
	snap, err := term.Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Check(snap, j.Now(), j.Now()); err != nil {
		t.Errorf("Check: %v", err)
	}
	t.Logf("%d terms", terms)
}

// TestNoQuorum: a write without a quorum ends its term with an unknown outcome, within the
// timeout. With a quorum again, a term can begin.
func TestNoQuorum(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	cfg := Config{Endpoints: cluster.Endpoints(), Timeout: 500 * time.Millisecond,
		SessionTTL: time.Second}
	c := open(t, cfg)
	leadership := campaign(t, c)
	term := takeOver(t, leadership)
	if err := term.Create(context.Background(), firstBatch()); err != nil {
		t.Fatal(err)
	}
	cluster.Member(0).Kill()
	cluster.Member(1).Kill()
	start := time.Now()
	if err := term.Confirm(context.Background()); err == nil || errors.Is(err, store.ErrDeposed) {
		t.Errorf("Confirm without a quorum: %v, want an error that it is unknown", err)
	}
	if err := term.Commit(context.Background(), grant(1, 1)); err == nil ||
		errors.Is(err, store.ErrDeposed) || !strings.Contains(err.Error(), "unknown") ||
		!strings.Contains(err.Error(), cfg.Endpoints[2]) {
		t.Errorf("Commit: %v", err)
	}
	if took := time.Since(start); took > 3*cfg.Timeout {
		t.Errorf("the failed write took %v, want no longer than the timeout", took)
	}
	<-leadership.Lost()
	if err := cluster.Start(); err != nil {
		t.Fatal(err)
	}
	_, next, _ := comeBack(t, c, leadership)
	if err := next.Commit(context.Background(), grant(1, 2)); err != nil {
		t.Errorf("Commit: %v", err)
	}
}

// TestStaleSession: a session that could not be revoked while etcd was unreachable is
// revoked before the next one, which need not wait for its TTL.
func TestStaleSession(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	cfg := Config{Endpoints: cluster.Endpoints(), Timeout: 500 * time.Millisecond,
		SessionTTL: 10 * testTimeout}
	a, b := open(t, cfg), open(t, cfg)
	leadership := campaign(t, a)
	cluster.Kill()
	if err := leadership.Resign(context.Background()); err == nil {
		t.Error("Resign without etcd: nil, want an error")
	}
	if err := cluster.Start(); err != nil {
		t.Fatal(err)
	}
	if err := campaign(t, a).Resign(context.Background()); err != nil {
		t.Errorf("Resign: %v", err)
	}
	campaign(t, b)
}

// TestHang: a write to a member that hangs has an unknown outcome, and may be done when the
// member goes on.
func TestHang(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	c := open(t, Config{Endpoints: cluster.Endpoints(), Timeout: time.Second})
	leadership := campaign(t, c)
	term := takeOver(t, leadership)
	if err := term.Create(context.Background(), firstBatch()); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Member(0).Freeze(); err != nil {
		t.Fatal(err)
	}
	err := term.Commit(context.Background(), grant(1, 1))
	if err == nil || !strings.Contains(err.Error(), "unknown") {
		t.Errorf("Commit: %v", err)
	}
	if err := cluster.Member(0).Thaw(); err != nil {
		t.Fatal(err)
	}
	_, _, snap := comeBack(t, c, leadership)
	t.Logf("%d records are there", len(snap.Records)) // either is right
}

// TestOneHangs: one member of three that hangs costs a leader that uses it one call, and
// any other leader nothing. No leader loses the election, even with a short session.
func TestOneHangs(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	cfg := Config{Endpoints: cluster.Endpoints(), SessionTTL: 3 * time.Second, Timeout: time.Second}
	c, other := open(t, cfg), open(t, cfg)
	leadership := campaign(t, c)
	term := takeOver(t, leadership)
	if err := term.Create(context.Background(), firstBatch()); err != nil {
		t.Fatal(err)
	}
	waitForLeader(t, other, c.Self())
	epoch := fencing.Epoch(0)
	commit := func() error {
		epoch++
		return term.Commit(context.Background(), grant(1, epoch))
	}
	uses := func(c *Cluster) string {
		kv := c.kv.(*client)
		kv.mu.Lock()
		defer kv.mu.Unlock()
		return kv.endpoint()
	}
	for i := range 3 {
		m := cluster.Member(i)
		used := uses(c) == m.Endpoint
		leader, err := cluster.Leader()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Freeze(); err != nil {
			t.Fatal(err)
		}
		// This lasts longer than the session, so the renewals have to move on, too.
		failed := 0
		start := time.Now()
		var gap time.Duration
		for last := start; time.Since(start) < 2*cfg.SessionTTL; {
			err := commit()
			for tries := 0; err != nil; tries++ {
				failed++
				if isClosed(leadership.Lost()) || tries > 20 {
					t.Fatalf(
						"while member %d hangs, the leadership is lost after %v and %d failed calls, the last one: %v", i, time.Since(start), failed, err)
				}
				var next store.Term
				if next, err = leadership.TakeOver(context.Background()); err == nil {
					term = next
				}
			}
			gap = max(gap, time.Since(last))
			last = time.Now()
		}
		if uses(c) == m.Endpoint {
			t.Errorf("member %d, which hangs, is still in use", i)
		}
		if !used && i != leader && failed > 0 {
			t.Errorf("%d calls failed while member %d, which was not in use, hung, want none",
				failed, i)
		}
		t.Logf(
			"member %d stood still (in use: %v, etcd's leader: %v): %d calls failed, the longest gap was %v", i, used, i == leader, failed, gap)
		if err := m.Thaw(); err != nil {
			t.Fatal(err)
		}
		if err := m.Await(); err != nil {
			t.Fatal(err)
		}
	}
	// A follower learns of changes, whichever member it was connected to.
	if err := leadership.Resign(context.Background()); err != nil {
		t.Fatal(err)
	}
	waitForLeader(t, other, store.Member{})
}

// TestFollowerMovesOn: a replica that only watches moves on, too, when its member hangs.
func TestFollowerMovesOn(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	cfg := Config{Endpoints: cluster.Endpoints(), SessionTTL: time.Second, Timeout: time.Second}
	a, b := open(t, cfg), open(t, cfg)
	waitForLeader(t, b, store.Member{})
	leadership := campaign(t, a)
	waitForLeader(t, b, a.Self())
	kv := b.kv.(*client)
	kv.mu.Lock()
	at := kv.endpoint()
	kv.mu.Unlock()
	for i := range 3 {
		if m := cluster.Member(i); m.Endpoint == at {
			if err := m.Freeze(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = m.Thaw() }()
		}
	}
	if err := leadership.Resign(context.Background()); err != nil {
		t.Logf("%v", err) // its own member may be the one
	}
	waitForLeader(t, b, store.Member{})
}

// TestNoSpace: when etcd is out of space, writes err and say so, and reads work.
func TestNoSpace(t *testing.T) {
	cluster := etcdtest.Start(t, 1, "--quota-backend-bytes", "2000000")
	c := open(t, Config{Endpoints: cluster.Endpoints()})
	leadership := campaign(t, c)
	term := takeOver(t, leadership)
	if err := term.Create(context.Background(), firstBatch()); err != nil {
		t.Fatal(err)
	}
	etcd := etcdClient(t, cluster.Endpoints()...)
	for i := 0; ; i++ {
		if _, err := etcd.Put(context.Background(), fmt.Sprint("fill", i),
			strings.Repeat("x", 100_000)); err != nil {
			break
		}
	}
	if err := term.Commit(context.Background(), grant(1, 1)); err == nil ||
		!strings.Contains(err.Error(), "is out of space") ||
		!strings.Contains(err.Error(), "alarm disarm") {
		t.Errorf("Commit: %v", err)
	}
	if _, err := leadership.TakeOver(context.Background()); err == nil ||
		!strings.Contains(err.Error(), "is out of space") {
		t.Errorf("TakeOver: %v", err)
	}
	// Make space again.
	ctx := context.Background()
	if _, err := etcd.Delete(ctx, "fill", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	status, err := etcd.Status(ctx, cluster.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Compact(ctx, status.Header.Revision,
		clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Defragment(ctx, cluster.Endpoints()[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	_, term, _ = comeBack(t, c, leadership)
	if err := term.Commit(ctx, grant(1, 1)); err != nil {
		t.Errorf("Commit: %v", err)
	}
}
