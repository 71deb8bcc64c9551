package etcd

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cirrus-id/cirrus/internal/etcdtest"
	"github.com/cirrus-id/cirrus/store"
)

// TestElection: one replica leads, and the others know it. When it resigns, another one is
// elected at once.
func TestElection(t *testing.T) {
	cfg := config(t)
	cfg.Advertise = "http://a:50051"
	a := open(t, cfg)
	cfg.Advertise = "http://b:50051"
	b := open(t, cfg)
	waitForLeader(t, a, store.Member{})
	first := campaign(t, a)
	waitForLeader(t, a, a.Self())
	waitForLeader(t, b, a.Self())
	if a.Self().Address != "http://a:50051" || a.Self().ID == b.Self().ID {
		t.Errorf("the replicas are %+v and %+v, want their addresses and different IDs", a.Self(),
			b.Self())
	}
	if a.ID() == "" || a.ID() != b.ID() || !strings.HasSuffix(a.ID(), cfg.Prefix) {
		t.Errorf("the replicas name the store %q and %q, want one name with the prefix", a.ID(),
			b.ID())
	}
	second := make(chan store.Leadership)
	go func() { second <- campaign(t, b) }()
	takeOver(t, first)
	select {
	case <-second:
		t.Fatal("two replicas are elected, want one")
	case <-first.Lost():
		t.Fatal("Lost is closed, want the replica to stay elected")
	default:
	}
	start := time.Now()
	if err := first.Resign(context.Background()); err != nil {
		t.Fatal(err)
	}
	resigned := time.Since(start)
	o := <-second
	t.Logf("resigned within %v, followed within %v", resigned, time.Since(start))
	waitForLeader(t, a, b.Self())
	<-first.Lost()
	if _, err := first.TakeOver(context.Background()); err == nil {
		t.Error("TakeOver after Resign: nil, want an error")
	}
	if err := o.Resign(context.Background()); err != nil {
		t.Errorf("Resign: %v", err)
	}
	waitForLeader(t, a, store.Member{})
}

// TestSilentLeader: when a leader stops renewing its session, another replica is elected
// after the session's TTL.
func TestSilentLeader(t *testing.T) {
	cfg := config(t)
	cfg.SessionTTL = time.Second
	a, b := open(t, cfg), open(t, cfg)
	campaign(t, a)
	start := time.Now()
	if err := a.Close(); err != nil { // it does not resign
		t.Fatal(err)
	}
	campaign(t, b)
	t.Logf("followed after %v", time.Since(start))
}

// TestSessionLost: a leadership whose session etcd has ended is lost, and the next campaign
// has another session.
func TestSessionLost(t *testing.T) {
	cfg := config(t)
	a := open(t, cfg)
	o := campaign(t, a)
	lease := o.(*leadership).Elected.(*session).lease
	if _, err := etcdClient(t, cfg.Endpoints...).Revoke(context.Background(), lease); err != nil {
		t.Fatal(err)
	}
	if _, err := o.TakeOver(context.Background()); err == nil {
		t.Error("TakeOver without the session: nil, want an error")
	}
	<-o.Lost()
	takeOver(t, campaign(t, a))
}

// TestCampaignCancelled: a cancelled campaign ends at once, and its key is deleted.
func TestCampaignCancelled(t *testing.T) {
	cfg := config(t)
	a, b := open(t, cfg), open(t, cfg)
	campaign(t, a)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error)
	go func() {
		_, err := b.Campaign(ctx)
		result <- err
	}()
	for queued(t, cfg) < 2 {
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n := queued(t, cfg); n != 1 {
		t.Errorf("%d keys are in the election, want 1", n)
	}
}

// TestKeyLost: a replica whose key was deleted while it waited campaigns again once nobody
// leads.
func TestKeyLost(t *testing.T) {
	cfg := config(t)
	a, b := open(t, cfg), open(t, cfg)
	first := campaign(t, a)
	won := make(chan store.Leadership)
	go func() { won <- campaign(t, b) }()
	for queued(t, cfg) < 2 {
	}
	direct := etcdClient(t, cfg.Endpoints...)
	resp, err := direct.Get(context.Background(), cfg.Prefix+"leader/",
		clientv3.WithLastCreate()...)
	if err == nil {
		_, err = direct.Delete(context.Background(), string(resp.Kvs[0].Key))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Resign(context.Background()); err != nil {
		t.Fatal(err)
	}
	takeOver(t, <-won)
}

// TestCloseEndsCampaign: Close ends a campaign, and later ones err.
func TestCloseEndsCampaign(t *testing.T) {
	cfg := config(t)
	a, b := open(t, cfg), open(t, cfg)
	campaign(t, a)
	result := make(chan error)
	go func() {
		_, err := b.Campaign(context.Background())
		result <- err
	}()
	for queued(t, cfg) < 2 {
	}
	if err := b.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-result; !errors.Is(err, store.ErrClosed) {
		t.Error(err)
	}
	if _, err := b.Campaign(context.Background()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Campaign: %v, want ErrClosed", err)
	}
}

// TestObserveCompacted: a watch whose revision was compacted is opened anew.
func TestObserveCompacted(t *testing.T) {
	cfg := config(t)
	direct := etcdClient(t, cfg.Endpoints...)
	link := newLink(t, strings.TrimPrefix(cfg.Endpoints[0], "http://"))
	a := open(t, cfg)
	cfg.Endpoints = []string{"http://" + link.addr}
	b := open(t, cfg)
	o := campaign(t, a)
	waitForLeader(t, b, a.Self())
	link.cut()
	if err := o.Resign(context.Background()); err != nil {
		t.Fatal(err)
	}
	resp, err := direct.Put(context.Background(), cfg.Prefix+"x", "")
	if err == nil {
		_, err = direct.Delete(context.Background(), cfg.Prefix+"x")
	}
	if err == nil {
		_, err = direct.Compact(context.Background(), resp.Header.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := b.Leader(); m != a.Self() {
		t.Errorf("cut off, the replica reports the leader %+v, want the last known one, %+v", m,
			a.Self())
	}
	link.join()
	waitForLeader(t, b, store.Member{})
}

// TestBeforeEtcd: a replica that starts before etcd waits, logs for what, and goes on by
// itself.
func TestBeforeEtcd(t *testing.T) {
	for name, user := range map[string]string{"without a user": "", "with a user": "root"} {
		t.Run(name, func(t *testing.T) {
			cluster, err := etcdtest.New(etcdtest.Config{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cluster.Kill)
			logged := make(lines, 100)
			c := open(t, Config{
				Endpoints: cluster.Endpoints(), User: user, Password: user,
				Timeout: 200 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(logged, nil)),
			})
			if c.ID() != "" {
				t.Errorf("the ID is %q before etcd has answered, want none", c.ID())
			}
			won := make(chan store.Leadership)
			go func() { won <- campaign(t, c) }()
			if line := <-logged; !strings.Contains(line, cluster.Endpoints()[0]) ||
				!strings.Contains(line, "nothing listens there") {
				t.Errorf("the log says %q, want the endpoint and that nothing listens there", line)
			}
			if err := cluster.Start(); err != nil {
				t.Fatal(err)
			}
			takeOver(t, <-won)
		})
	}
}
