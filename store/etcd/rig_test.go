package etcd

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/storetest"
)

// testTimeout bounds the waiting for what should happen soon. No result depends on it.
const testTimeout = 30 * time.Second

func open(t testing.TB, cfg Config) *Cluster {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

func campaign(t testing.TB, c *Cluster) store.Leadership {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	o, err := c.Campaign(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func takeOver(t testing.TB, o store.Leadership) store.Term {
	t.Helper()
	term, err := o.TakeOver(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return term
}

// comeBack begins another term, as a leader does whose term has ended.
func comeBack(t testing.TB, c *Cluster, o store.Leadership) (store.Leadership, store.Term,
	fencing.Snapshot) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); ; {
		select {
		case <-o.Lost():
			o = campaign(t, c)
		default:
		}
		term, err := o.TakeOver(context.Background())
		if err == nil {
			var snap fencing.Snapshot
			if snap, err = term.Load(context.Background()); err == nil {
				return o, term, snap
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no term has begun within %v, the last error: %v", testTimeout, err)
		}
	}
}

// waitForLeader waits until the cluster reports that m leads.
func waitForLeader(t testing.TB, c *Cluster, m store.Member) {
	t.Helper()
	deadline := time.After(testTimeout)
	for {
		got, news := c.Leader()
		if got == m {
			return
		}
		select {
		case <-news:
		case <-deadline:
			t.Fatalf("the reported leader is %+v, want %+v", got, m)
		}
	}
}

func firstBatch() fencing.Batch {
	meta := storetest.Meta()
	return fencing.Batch{Meta: &meta, Pools: []fencing.Pool{storetest.Pool("p")}}
}

func grant(n int, e fencing.Epoch) fencing.Batch {
	return fencing.Batch{Records: []fencing.Record{storetest.Record("p", snowflake.NodeID(n), e)}}
}

// queued returns how many replicas lead or campaign.
func queued(t testing.TB, cfg Config) int64 {
	t.Helper()
	resp, err := etcdClient(t, cfg.Endpoints...).Get(context.Background(), cfg.Prefix+"leader/",
		clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return resp.Count
}

// link is a connection to etcd that can be cut.
type link struct {
	addr, to string

	mu     sync.Mutex
	l      net.Listener
	conns  map[net.Conn]bool
	copies sync.WaitGroup
}

func newLink(t *testing.T, to string) *link {
	t.Helper()
	k := &link{to: to, addr: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	k.join()
	t.Cleanup(func() { k.cut(); k.copies.Wait() })
	return k
}

// join starts to listen, also after a cut.
func (k *link) join() {
	l, err := net.Listen("tcp", k.addr)
	if err != nil {
		panic(err)
	}
	k.l, k.addr = l, l.Addr().String()
	k.copies.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", k.to)
			if err != nil {
				in.Close()
				continue
			}
			k.mu.Lock()
			k.conns[in], k.conns[out] = true, true
			k.mu.Unlock()
			k.copies.Go(func() { _, _ = io.Copy(in, out); in.Close() })
			k.copies.Go(func() { _, _ = io.Copy(out, in); out.Close() })
		}
	})
}

// cut closes the listener and all connections.
func (k *link) cut() {
	k.l.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.conns {
		c.Close()
	}
	clear(k.conns)
}

// lines is a log as a channel of its lines.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}
