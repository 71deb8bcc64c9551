package etcd

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/etcdtest"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/storetest"
)

// benchTerm returns a term on a cluster of three members that sync their disks, with the
// pool "p" in its store; observe may be nil.
func benchTerm(b *testing.B, observe func(RoundTrip)) (*Cluster, store.Leadership, store.Term) {
	b.Helper()
	etcd := etcdtest.StartWith(b, etcdtest.Config{Dir: b.TempDir(), Members: 3, Sync: true})
	c := open(b, Config{Endpoints: etcd.Endpoints(), Observe: observe})
	o := campaign(b, c)
	term := takeOver(b, o)
	first := firstBatch()
	first.Pools[0].Layout = snowflake.Layout{Origin: 1, TimestampBits: 41, NodeBits: 17,
		SequenceBits: 5}
	first.Pools[0].Last = first.Pools[0].Layout.MaxNode()
	if err := term.Create(context.Background(), first); err != nil {
		b.Fatal(err)
	}
	return c, o, term
}

// each calls f in so many goroutines, b.N times in all.
func each(b *testing.B, writers int, f func(w, n int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range writers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				if err := f(w, int(n)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

// BenchmarkLimit measures what etcd allows: one small transaction a call, from one caller
// or from 64 at a time.
func BenchmarkLimit(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			etcd := etcdtest.StartWith(b, etcdtest.Config{Dir: b.TempDir(), Members: 3, Sync: true})
			c := etcdClient(b, etcd.Endpoints()...)
			ctx := context.Background()
			if _, err := c.Put(ctx, "term", "t"); err != nil {
				b.Fatal(err)
			}
			value := string(make([]byte, 80))
			each(b, writers, func(w, _ int) error {
				resp, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Value("term"), "=",
					"t")).Then(clientv3.OpPut(fmt.Sprint(w), value)).Commit()
				if err == nil && !resp.Succeeded {
					err = errDeposed
				}
				return err
			})
		})
	}
}

// BenchmarkCommit measures a grant, from one writer or from 64 at a time.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			var trips atomic.Int64
			_, _, term := benchTerm(b, func(RoundTrip) { trips.Add(1) })
			before := trips.Load()
			each(b, writers, func(w, n int) error {
				r := storetest.Record("p", snowflake.NodeID(w), fencing.Epoch(n))
				return term.Commit(context.Background(),
					fencing.Batch{Records: []fencing.Record{r}})
			})
			b.ReportMetric(float64(b.N)/float64(trips.Load()-before), "commits/transaction")
		})
	}
}

// BenchmarkTakeOver measures a takeover and the load of 100,000 records.
func BenchmarkTakeOver(b *testing.B) {
	const records = 100_000
	c, o, _ := benchTerm(b, nil)
	if err := o.Resign(context.Background()); err != nil {
		b.Fatal(err)
	}
	off, err := c.Offline(context.Background(), store.Recovery)
	if err != nil {
		b.Fatal(err)
	}
	var batch fencing.Batch
	for n := range snowflake.NodeID(records) {
		batch.Records = append(batch.Records, storetest.Record("p", n, fencing.Epoch(n+1)))
	}
	if err := off.Commit(context.Background(), batch); err != nil {
		b.Fatal(err)
	}
	leadership := campaign(b, c)
	b.ResetTimer()
	for range b.N {
		term := takeOver(b, leadership)
		snap, err := term.Load(context.Background())
		if err != nil || len(snap.Records) != records {
			b.Fatal(len(snap.Records), err)
		}
	}
}
