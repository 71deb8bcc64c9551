//go:build unix

package snowflake_test

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bwmarrin "github.com/bwmarrin/snowflake"

	"github.com/cirrus-id/cirrus/internal/steady"
	"github.com/cirrus-id/cirrus/snowflake"
)

// BenchmarkNext measures Next beside its limits, in one goroutine and in eight
// that share one generator. The loops take turns in short rounds, since what
// they cost depends on where the system happens to run them. Each number is CPU
// time of the whole process for one call, in ns, the median of the rounds:
//
//	reading   the cheapest steady reading there is in Go
//	clock     the steady clock's, which counts suspend
//	cas       an attempt at a compare-and-swap, won or lost
//	cas-won   winning one
//	both      a reading and winning a compare-and-swap: no generator can do less
//	next      Next
//	bwmarrin  for scale: its generator, with so many sequence bits that it never waits
//
// ratio is next to cas + reading. It is to be at most 1.3 with one goroutine,
// 1.5 with eight. cores is how many were at work in next: with about one, nothing
// was contended, and the numbers for eight goroutines say nothing of it.
func BenchmarkNext(b *testing.B) {
	b.Run("goroutines=1", func(b *testing.B) { sideBySide(b, 1) })
	b.Run("goroutines=8", func(b *testing.B) { sideBySide(b, 8) })
}

func sideBySide(b *testing.B, goroutines int) {
	loops := nextAndItsLimits(b)
	costs := make(map[string][]float64)
	var cores []float64
	for b.Loop() {
		for name, loop := range loops {
			cpu, elapsed := round(b, goroutines, loop)
			costs[name] = append(costs[name], float64(cpu)/perRound)
			if name == "next" {
				cores = append(cores, float64(cpu)/float64(elapsed))
			}
		}
	}
	slices.Sort(cores)
	b.ReportMetric(cores[len(cores)/2], "cores")
	median := make(map[string]float64)
	for name, all := range costs {
		slices.Sort(all)
		median[name] = all[len(all)/2]
		b.ReportMetric(median[name], name)
	}
	b.ReportMetric(median["next"]/(median["cas"]+median["reading"]), "ratio")
	b.ReportMetric(0, "ns/op") // of a round: says nothing
}

// nextAndItsLimits are loops of the given number of calls.
func nextAndItsLimits(b *testing.B) map[string]func(calls int) {
	g := endless(b)
	theirs := bwmarrinWithoutWaiting(b)
	clock := steady.New()
	start := time.Now()
	var shared struct {
		_ [128]byte
		n atomic.Uint64
		_ [128]byte
	}
	n := &shared.n
	return map[string]func(calls int){
		"reading": func(calls int) {
			for range calls {
				_ = time.Since(start)
			}
		},
		"clock": func(calls int) {
			for range calls {
				_ = clock.Now()
			}
		},
		"cas": func(calls int) {
			for range calls {
				old := n.Load()
				n.CompareAndSwap(old, old+1)
			}
		},
		"cas-won": func(calls int) {
			for range calls {
				for old := n.Load(); !n.CompareAndSwap(old, old+1); old = n.Load() {
				}
			}
		},
		"both": func(calls int) {
			for range calls {
				now := uint64(time.Since(start))
				for old := n.Load(); !n.CompareAndSwap(old, max(old+1, now>>20)); old = n.Load() {
				}
			}
		},
		"next": func(calls int) {
			for range calls {
				_, _ = g.Next()
			}
		},
		"bwmarrin": func(calls int) {
			for range calls {
				theirs.Generate()
			}
		},
	}
}

// perRound is how many calls the goroutines make in a round, together: enough
// to have them all at work for most of it.
const perRound = 1_600_000

// round has the goroutines run the loop and returns what that took.
func round(b *testing.B, goroutines int, loop func(calls int)) (cpu, elapsed time.Duration) {
	start, before := time.Now(), cpuTime(b)
	var done sync.WaitGroup
	for range goroutines {
		done.Go(func() { loop(perRound / goroutines) })
	}
	done.Wait()
	return cpuTime(b) - before, time.Since(start)
}

// BenchmarkBurst mints what fits into the default lead, from a fresh lease each
// time: that runs at the speed of Next, without a wait.
func BenchmarkBurst(b *testing.B) {
	const burst = 4_096_000
	clock := steady.New()
	before := cpuTime(b)
	for b.Loop() {
		g := snowflake.NewGenerator(clock, snowflake.Options{})
		begin(b, g, clock)
		for range burst {
			if _, err := g.Next(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/burst, "cpu-ns/id")
}

func BenchmarkNextN64(b *testing.B) {
	g := endless(b)
	ids := make([]snowflake.ID, 64)
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		if _, err := g.NextN(ids); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/float64(len(ids)), "cpu-ns/id")
}

// bwmarrinWithoutWaiting sets that package's globals, for this benchmark.
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
	clock := steady.New()
	g := snowflake.NewGenerator(clock, snowflake.Options{MaxLead: math.MaxInt64})
	begin(b, g, clock)
	return g
}

func begin(b *testing.B, g *snowflake.Generator, clock snowflake.Clock) {
	const now = snowflake.Millis(1_800_000_000_000)
	_, err := g.Begin(snowflake.Grant{
		Layout: snowflake.DefaultLayout, Node: 7,
		Floor: now, Ceiling: math.MaxInt64, Deadline: math.MaxInt64,
		Time: snowflake.TimeSample{ServerTime: now, ReceivedAt: clock.Now()},
	})
	if err != nil {
		b.Fatal(err)
	}
}

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
