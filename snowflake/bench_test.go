//go:build unix

package snowflake_test

import (
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bwmarrin "github.com/bwmarrin/snowflake"

	"github.com/cirrus-id/cirrus/internal/steady"
	"github.com/cirrus-id/cirrus/snowflake"
)

// The limits that Next is measured against stand beside it: BenchmarkNext is to
// be at most 1.3 × (SteadyReading + CAS), BenchmarkNext8 at most 1.5 ×
// (CASContended8 + SteadyReading), in CPU time. Compare medians of one run:
//
//	go test -run - -bench . -count 5 ./snowflake

// BenchmarkSteadyReading is the cheapest steady reading that Go offers.
func BenchmarkSteadyReading(b *testing.B) {
	start := time.Now()
	for b.Loop() {
		_ = time.Since(start)
	}
}

// BenchmarkSteadyClock is the steady clock, which counts suspend.
func BenchmarkSteadyClock(b *testing.B) {
	c := steady.New()
	for b.Loop() {
		_ = c.Now()
	}
}

func BenchmarkCAS(b *testing.B) {
	var n atomic.Uint64
	for b.Loop() {
		for {
			old := n.Load()
			if n.CompareAndSwap(old, old+1) {
				break
			}
		}
	}
}

// BenchmarkCASContended8 counts attempts, lost ones too: the stricter limit.
func BenchmarkCASContended8(b *testing.B) {
	var n atomic.Uint64
	inEight(b, func(times int) {
		for range times {
			old := n.Load()
			n.CompareAndSwap(old, old+1)
		}
	})
}

// BenchmarkCASContended8Won counts those that succeeded.
func BenchmarkCASContended8Won(b *testing.B) {
	var n atomic.Uint64
	inEight(b, func(times int) {
		for range times {
			for {
				old := n.Load()
				if n.CompareAndSwap(old, old+1) {
					break
				}
			}
		}
	})
}

func BenchmarkNext(b *testing.B) {
	g := endless(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBurst mints what fits into the default lead, 4,096,000 IDs, from a
// fresh lease each time.
func BenchmarkBurst(b *testing.B) {
	const burst = 4_096_000
	for b.Loop() {
		g := snowflake.NewGenerator(steady.New(), snowflake.Options{})
		begin(b, g)
		for range burst {
			if _, err := g.Next(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/burst, "ns/id")
}

func BenchmarkNext8(b *testing.B) {
	g := endless(b)
	b.ReportAllocs()
	inEight(b, func(times int) {
		for range times {
			if _, err := g.Next(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkNextN64(b *testing.B) {
	g := endless(b)
	ids := make([]snowflake.ID, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.NextN(ids); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(len(ids)), "ns/id")
}

func BenchmarkBwmarrin(b *testing.B) {
	node := bwmarrinWithoutWaiting(b)
	for b.Loop() {
		node.Generate()
	}
}

func BenchmarkBwmarrin8(b *testing.B) {
	node := bwmarrinWithoutWaiting(b)
	inEight(b, func(times int) {
		for range times {
			node.Generate()
		}
	})
}

// bwmarrinWithoutWaiting has so many sequence bits that no millisecond runs
// out. The settings are that package's globals.
func bwmarrinWithoutWaiting(b *testing.B) *bwmarrin.Node {
	nodeBits, stepBits := bwmarrin.NodeBits, bwmarrin.StepBits
	b.Cleanup(func() { bwmarrin.NodeBits, bwmarrin.StepBits = nodeBits, stepBits })
	bwmarrin.NodeBits, bwmarrin.StepBits = 1, 21
	node, err := bwmarrin.NewNode(1)
	if err != nil {
		b.Fatal(err)
	}
	return node
}

// endless is a generator that never has to wait.
func endless(b *testing.B) *snowflake.Generator {
	g := snowflake.NewGenerator(steady.New(), snowflake.Options{MaxLead: math.MaxInt64})
	begin(b, g)
	return g
}

func begin(b *testing.B, g *snowflake.Generator) {
	const now = snowflake.Millis(1_800_000_000_000)
	_, err := g.Begin(snowflake.Grant{
		Layout: snowflake.DefaultLayout, Node: 7,
		Floor: now, Ceiling: math.MaxInt64, Deadline: math.MaxInt64,
		Time: snowflake.TimeSample{ServerTime: now},
	})
	if err != nil {
		b.Fatal(err)
	}
}

// inEight shares b.N calls among eight goroutines and reports the CPU time of
// each, all threads of the process taken together.
func inEight(b *testing.B, run func(times int)) {
	const goroutines = 8
	var done sync.WaitGroup
	before := cpuTime(b)
	b.ResetTimer()
	for i := range goroutines {
		done.Go(func() { run((b.N + i) / goroutines) })
	}
	done.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "ns-cpu/op")
}

func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
