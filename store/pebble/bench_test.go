package pebble

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store/storetest"
)

// BenchmarkLimit measures what the disk allows: as many bytes as a grant takes in the log,
// appended to a file and synced, one grant after the other.
func BenchmarkLimit(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "limit"))
	if err != nil {
		b.Fatal(err)
	}
	line := make([]byte, 150)
	for b.Loop() {
		if _, err := f.Write(line); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCommit measures a grant, from one writer or from 64 at a time.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := benchStore(b, storetest.Pool(fencing.DefaultPool))
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for w := range writers {
				wg.Go(func() {
					r := storetest.Record(fencing.DefaultPool, snowflake.NodeID(w), 1)
					for next.Add(1) <= int64(b.N) {
						r.Epoch++
						if err := s.Commit(context.Background(),
							fencing.Batch{Records: []fencing.Record{r}}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// BenchmarkLoad measures the start with a million records: opening and loading, and the
// memory of the snapshot.
func BenchmarkLoad(b *testing.B) {
	const records = 1_000_000
	dir := filepath.Join(b.TempDir(), "cirrus")
	fill1M(b, dir, records)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		s, err := Open(dir, Options{Logger: quiet})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "open-ms")
		snap, err := s.Load(context.Background())
		if err != nil || len(snap.Records) != records {
			b.Fatal(len(snap.Records), err)
		}
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/records, "allocated-B/record")
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/records, "kept-B/record")
		runtime.KeepAlive(snap)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// fill1M commits a million records in one batch, as a recovery does.
func fill1M(b *testing.B, dir string, records int) {
	b.Helper()
	p := storetest.Pool("large")
	p.Layout = snowflake.Layout{Origin: p.Layout.Origin, TimestampBits: 41, NodeBits: 20,
		SequenceBits: 2}
	p.Last = p.Layout.MaxNode()
	if err := Create(dir, storetest.Meta(), []fencing.Pool{p}, Options{Logger: quiet}); err != nil {
		b.Fatal(err)
	}
	s, err := Open(dir, Options{Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	batch := fencing.Batch{Records: make([]fencing.Record, records)}
	for i := range batch.Records {
		r := storetest.Record("large", snowflake.NodeID(i), fencing.Epoch(i+1))
		r.App = fencing.AppID(fmt.Sprintf("shop-checkout-7d9f8b6c5-%05d", i))
		r.Instance = fencing.InstanceID(r.App).Hash()
		batch.Records[i] = r
	}
	if err := s.Commit(context.Background(), batch); err != nil {
		b.Fatal(err)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

func benchStore(b *testing.B, pools ...fencing.Pool) *Store {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "cirrus")
	if err := Create(dir, storetest.Meta(), pools, Options{Logger: quiet}); err != nil {
		b.Fatal(err)
	}
	s, err := Open(dir, Options{Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}
