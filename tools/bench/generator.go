package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cirrus-id/cirrus/internal/steady"
	"github.com/cirrus-id/cirrus/snowflake"
)

// sharers is the number of goroutines that share a generator.
const sharers = 8

// burst is how many IDs fit into the default lead.
const burst = 4096 * 1000

// generatorAlone compares Next with the two steps that it needs at least: a steady
// clock reading and a compare-and-swap.
func generatorAlone(r *measuring) []Row {
	next := counted(1, nextLoop(must(endless())))
	samples := r.takeTurns(
		counted(1, readingLoop), counted(1, casLoop()), next,
		func(_ context.Context, d time.Duration) (sample, error) { return burstOf(d) })
	reading, cas := of(samples[0], cpuEach), of(samples[1], cpuEach)
	row := func(what string, ours []sample) Row {
		return comparison{
			what: what, unit: "ns CPU", scale: 1, figure: cpuEach, ours: ours,
			limitIs: "a steady reading and a compare-and-swap",
			limit:   func(round int) float64 { return reading(round) + cas(round) },
			target:  Target{"≤", 1.3},
			note: fmt.Sprintf("a steady reading takes %s ns, a compare-and-swap %s ns",
				number(reading.median(r.rounds)), number(cas.median(r.rounds))),
		}.row()
	}
	allocs := must(allocsEach(r.ctx, next, r.For/time.Duration(r.rounds)))
	return []Row{
		row("Generator, Next, one goroutine", samples[2]),
		{What: "… its allocations", Unit: "each", Ours: allocs, Target: Target{"≤", 0}},
		row("… a burst within the lead, from a new lease", samples[3]),
	}
}

// generatorShared is the same with sharers on one generator.
func generatorShared(r *measuring) []Row {
	// In short slices, so that some of them have all the cores.
	samples := r.takeTurnsOf(10*r.rounds,
		counted(1, readingLoop), counted(sharers, attemptLoop()),
		counted(sharers, nextLoop(must(endless()))))
	kept, contended := contendedRounds(samples[0], samples[1], samples[2])
	readings, swaps, ours := kept[0], kept[1], kept[2]
	row := comparison{
		what: "Generator, Next, 8 goroutines on one", unit: "ns CPU", scale: 1, figure: cpuEach,
		ours:    ours,
		limitIs: "a steady reading and a contended compare-and-swap",
		limit: func(
			round int) float64 {
			return cpuEach(readings[round]) + cpuEach(swaps[round])
		},
		target: Target{"≤", 1.5},
		note: fmt.Sprintf(
			"a steady reading takes %s ns, a contended compare-and-swap, lost ones counted, %s ns; on %s cores",
			number(median(readings, cpuEach)), number(median(swaps, cpuEach)),
			number(median(ours, cores))),
	}
	if !contended {
		row.note += ": this machine had no core to spare, so nothing was contended, and the figures say little"
	}
	return []Row{row.row()}
}

func cores(s sample) float64 { return s.cpu.Seconds() / s.wall.Seconds() }

// contendedRounds returns the rounds in which both sides that share something had
// the cores to contend for it: a machine that is busy may run their goroutines one
// after the other. If there is no such round, it returns all of them.
func contendedRounds(alone, limit, ours []sample) (kept [3][]sample, contended bool) {
	enough := 0.8 * float64(min(sharers, runtime.GOMAXPROCS(0)))
	for i := range ours {
		if cores(limit[i]) >= enough && cores(ours[i]) >= enough {
			kept[0], kept[1], kept[2] = append(kept[0], alone[i]), append(kept[1], limit[i]),
				append(kept[2], ours[i])
		}
	}
	if len(kept[0]) == 0 {
		return [3][]sample{alone, limit, ours}, false
	}
	return kept, true
}

// loop does something so many times.
type loop func(times int) error

// chunk is how many times a loop runs before the clock is read.
const chunk = 1000

// counted returns a side in which goroutines run a loop, and that counts the CPU time
// of this process.
func counted(goroutines int, run loop) side {
	return func(ctx context.Context, d time.Duration) (sample, error) {
		return ownCPU(func() (sample, error) {
			s, err := repeat(ctx, goroutines, d,
				func(context.Context, int) error { return run(chunk) })
			s.ops *= chunk
			return s, err
		})
	}
}

func ownCPU(run func() (sample, error)) (sample, error) {
	before, err := cpuTime()
	if err != nil {
		return sample{}, err
	}
	s, err := run()
	if err != nil {
		return s, err
	}
	after, err := cpuTime()
	s.cpu = after - before
	return s, err
}

// readingLoop is the cheapest steady reading that Go offers.
func readingLoop(times int) error {
	start := time.Now()
	for range times {
		if time.Since(start) < 0 {
			return fmt.Errorf("the steady clock went back")
		}
	}
	return nil
}

// casLoop swaps until it succeeds.
func casLoop() loop {
	var n atomic.Uint64
	return func(times int) error {
		for range times {
			for {
				old := n.Load()
				if n.CompareAndSwap(old, old+1) {
					break
				}
			}
		}
		return nil
	}
}

// attemptLoop also counts swaps that fail: the stricter limit if several goroutines
// swap.
func attemptLoop() loop {
	var n atomic.Uint64
	return func(times int) error {
		for range times {
			old := n.Load()
			n.CompareAndSwap(old, old+1)
		}
		return nil
	}
}

func nextLoop(g *snowflake.Generator) loop {
	return func(times int) error {
		for range times {
			if _, err := g.Next(); err != nil {
				return err
			}
		}
		return nil
	}
}

// burstOf mints bursts, each within the lead of a new lease.
func burstOf(d time.Duration) (sample, error) {
	return ownCPU(func() (sample, error) {
		started := time.Now()
		s := sample{}
		for s.ops == 0 || time.Since(started) < d {
			g := snowflake.NewGenerator(steady.New(), snowflake.Options{})
			if err := begin(g); err != nil {
				return s, err
			}
			for n := 0; n < burst && (s.ops == 0 || time.Since(started) < d); n += chunk {
				if err := nextLoop(g)(chunk); err != nil {
					return s, err
				}
				s.ops += chunk
			}
		}
		s.wall = time.Since(started)
		return s, nil
	})
}

// allocsEach returns the allocations of an operation, as testing.AllocsPerRun counts
// them: less than one for each operation is the work of other goroutines.
func allocsEach(ctx context.Context, run side, d time.Duration) (float64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, err := run(ctx, d)
	runtime.ReadMemStats(&after)
	return math.Floor(float64(after.Mallocs-before.Mallocs) / float64(max(s.ops, 1))), err
}

// endless returns a generator that never has to wait.
func endless() (*snowflake.Generator, error) {
	g := snowflake.NewGenerator(steady.New(), snowflake.Options{MaxLead: math.MaxInt64})
	return g, begin(g)
}

// begin gives a generator a lease that never ends.
func begin(g *snowflake.Generator) error {
	const now = snowflake.Millis(1_800_000_000_000)
	_, err := g.Begin(snowflake.Grant{
		Layout: snowflake.DefaultLayout, Node: 7,
		Floor: now, Ceiling: math.MaxInt64, Deadline: math.MaxInt64,
		Time: snowflake.TimeSample{ServerTime: now},
	})
	return err
}
