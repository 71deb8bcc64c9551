package bench

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

// Targets of the generator.
const (
	nextTarget   = 1.3
	sharedTarget = 1.5
	allocsTarget = 0
)

// sharers is how many goroutines share a generator.
const sharers = 8

// burst is how many IDs fit into the default lead.
const burst = 4096 * 1000

// generatorAlone compares Next with what it can't do without: a reading of a
// steady clock and a compare-and-swap.
func generatorAlone(ctx context.Context, b *bench) ([]Row, error) {
	g, err := endless()
	if err != nil {
		return nil, err
	}
	var allocs float64
	next := counted(1, nextLoop(g))
	samples, err := b.takeTurns(ctx,
		counted(1, readingLoop), counted(1, casLoop()), next,
		func(_ context.Context, d time.Duration) (sample, error) { return burstOf(d) })
	if err == nil {
		allocs, err = allocsEach(ctx, next, b.slice())
	}
	if err != nil {
		return nil, err
	}
	reading, cas := of(samples[0], cpuEach), of(samples[1], cpuEach)
	limit := func(round int) float64 { return reading(round) + cas(round) }
	row := func(what string, ours []sample) Row {
		return Row{
			What: what, Unit: "ns CPU", LimitIs: "a steady reading and a compare-and-swap",
			Ours: median(ours, cpuEach), Limit: overRounds(b.rounds, limit), Ratio: medianRatio(ours, cpuEach, limit),
			Target: Target{"≤", nextTarget},
			Note:   fmt.Sprintf("a steady reading takes %s ns, a compare-and-swap %s ns", number(overRounds(b.rounds, reading)), number(overRounds(b.rounds, cas))),
		}.judged()
	}
	free := Row{What: "… its allocations", Unit: "each", Ours: allocs, Target: Target{"≤", allocsTarget}}
	return []Row{
		row("Generator, Next, one goroutine", samples[2]), free.judged(),
		row("… a burst within the lead, from a new lease", samples[3]),
	}, nil
}

// generatorShared is the same with sharers on one generator.
func generatorShared(ctx context.Context, b *bench) ([]Row, error) {
	g, err := endless()
	if err != nil {
		return nil, err
	}
	// In short slices: some of them then have all the cores.
	short := *b
	short.rounds *= 10
	samples, err := short.takeTurns(ctx,
		counted(1, readingLoop), counted(sharers, attemptLoop()), counted(sharers, nextLoop(g)))
	if err != nil {
		return nil, err
	}
	kept, contended := contendedRounds(samples[0], samples[1], samples[2])
	readings, swaps, ours := kept[0], kept[1], kept[2]
	limit := func(round int) float64 { return cpuEach(readings[round]) + cpuEach(swaps[round]) }
	row := Row{
		What: "Generator, Next, 8 goroutines on one", Unit: "ns CPU", LimitIs: "a steady reading and a contended compare-and-swap",
		Ours: median(ours, cpuEach), Limit: overRounds(len(ours), limit), Ratio: medianRatio(ours, cpuEach, limit),
		Target: Target{"≤", sharedTarget},
		Note: fmt.Sprintf("a steady reading takes %s ns, a contended compare-and-swap, lost ones counted, %s ns; on %s cores",
			number(median(readings, cpuEach)), number(median(swaps, cpuEach)), number(median(ours, cores))),
	}
	if !contended {
		row.Note += ": this machine had none to spare, so nothing was contended, and the figures say little"
	}
	return []Row{row.judged()}, nil
}

func cores(s sample) float64 { return s.cpu.Seconds() / s.wall.Seconds() }

// contendedRounds keeps the rounds in which both sides that share something had
// the cores to contend for it: a machine that does other things, too, may run
// their goroutines one after the other. If there are none, all are kept.
func contendedRounds(alone, limit, ours []sample) (kept [3][]sample, contended bool) {
	enough := 0.8 * float64(min(sharers, runtime.GOMAXPROCS(0)))
	for i := range ours {
		if cores(limit[i]) >= enough && cores(ours[i]) >= enough {
			kept[0], kept[1], kept[2] = append(kept[0], alone[i]), append(kept[1], limit[i]), append(kept[2], ours[i])
		}
	}
	if len(kept[0]) == 0 {
		return [3][]sample{alone, limit, ours}, false
	}
	return kept, true
}

// loop does something so many times.
type loop func(times int) error

// chunk is how many times between looks at whether the time is over.
const chunk = 1000

// counted is a side in which goroutines run a loop, by this process's CPU time.
func counted(goroutines int, run loop) side {
	return func(ctx context.Context, d time.Duration) (sample, error) {
		return ownCPU(func() (sample, error) {
			s, err := repeat(ctx, goroutines, d, func(context.Context, int) error { return run(chunk) })
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

// attemptLoop counts swaps that lost, too: the stricter limit where several
// goroutines swap.
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

// burstOf mints no more than fits into the lead, each time from a new lease.
func burstOf(d time.Duration) (sample, error) {
	return ownCPU(func() (sample, error) {
		started := time.Now()
		s := sample{}
		for s.ops == 0 || time.Since(started) < d {
			g := snowflake.NewGenerator(steady.New(), snowflake.Options{})
			if err := begin(g); err != nil {
				return s, err
			}
			for left := burst; left > 0 && (s.ops == 0 || time.Since(started) < d); left -= chunk {
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

// allocsEach is how often an operation allocates, as testing.AllocsPerRun
// counts: what doesn't make up one for each is somebody else's.
func allocsEach(ctx context.Context, run side, d time.Duration) (float64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, err := run(ctx, d)
	runtime.ReadMemStats(&after)
	return math.Floor(float64(after.Mallocs-before.Mallocs) / float64(max(s.ops, 1))), err
}

// endless is a generator that never has to wait.
func endless() (*snowflake.Generator, error) {
	g := snowflake.NewGenerator(steady.New(), snowflake.Options{MaxLead: math.MaxInt64})
	return g, begin(g)
}

// begin gives a generator a lease without an end.
func begin(g *snowflake.Generator) error {
	const now = snowflake.Millis(1_800_000_000_000)
	_, err := g.Begin(snowflake.Grant{
		Layout: snowflake.DefaultLayout, Node: 7,
		Floor: now, Ceiling: math.MaxInt64, Deadline: math.MaxInt64,
		Time: snowflake.TimeSample{ServerTime: now},
	})
	return err
}
