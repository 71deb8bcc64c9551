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

// patience is how long a test waits for what should come soon. It decides when
// to give up, never whether something is right.
const patience = 30 * time.Second

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
			t.Error(err)
		}
	})
	return c
}

func campaign(t testing.TB, c *Cluster) store.Leadership {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
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

// comeBack begins another term, as a leader does whose term is over.
func comeBack(t testing.TB, c *Cluster, o store.Leadership) (store.Leadership, store.Term, fencing.Snapshot) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
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
			t.Fatalf("in vain for %v: %v", patience, err)
		}
	}
}

// hears waits until the cluster knows that m leads.
func hears(t testing.TB, c *Cluster, m store.Member) {
	t.Helper()
	deadline := time.After(patience)
	for {
		got, news := c.Leader()
		if got == m {
			return
		}
		select {
		case <-news:
		case <-deadline:
			t.Fatalf("it hears of %+v, not of %+v", got, m)
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

// queued is how many lead or wait to.
func queued(t testing.TB, cfg Config) int64 {
	t.Helper()
	resp, err := etcdClient(t, cfg.Endpoints...).Get(context.Background(), cfg.Prefix+"leader/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return resp.Count
}

// link is a way to etcd that can be cut.
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

// join listens, again.
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

// cut closes all there is.
func (k *link) cut() {
	k.l.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.conns {
		c.Close()
	}
	clear(k.conns)
}

// lines is a log, line by line.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}
