package bench

import (
	"context"
	"slices"
	"time"
)

// defaultRounds is how many slices each side of a comparison is measured in.
const defaultRounds = 20

// sample is what one slice measured.
type sample struct {
	ops       int64
	wall, cpu time.Duration
	// typical is what the middle one of the operations took, where they were
	// done one by one. A mean would tell of whatever else the machine did.
	typical time.Duration
	// used is what the server's process used, where there is one.
	used Usage
}

// The figures of a sample, each for one operation or one second.

func cpuEach(s sample) float64 { return float64(s.cpu) / float64(max(s.ops, 1)) }
func typical(s sample) float64 { return float64(s.typical) }
func rate(s sample) float64    { return float64(s.ops) / s.wall.Seconds() }

// side is one of the things that are measured in turns: it works for about as
// long as it is told.
type side func(ctx context.Context, d time.Duration) (sample, error)

// takeTurns measures the sides one after the other, round after round, after a
// slice for each to get warm. The samples come by side.
func (b *bench) takeTurns(ctx context.Context, sides ...side) ([][]sample, error) {
	samples := make([][]sample, len(sides))
	for round := range b.rounds + 1 {
		for i, run := range sides {
			s, err := run(ctx, b.slice())
			if err != nil {
				return nil, err
			}
			if round > 0 {
				samples[i] = append(samples[i], s)
			}
		}
	}
	return samples, nil
}

// slice is how long one side is measured before it is another's turn.
func (b *bench) slice() time.Duration { return b.For / time.Duration(b.rounds) }

// median is the middle one of a figure over the samples.
func median(samples []sample, figure func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = figure(s)
	}
	return middle(values)
}

// medianRatio is the middle one of the ratios of ours to a limit that is made
// of what the other sides measured in the same round.
func medianRatio(ours []sample, figure func(sample) float64, limit func(round int) float64) float64 {
	values := make([]float64, len(ours))
	for i, s := range ours {
		values[i] = figure(s) / limit(i)
	}
	return middle(values)
}

func middle(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// of is a figure of one side, by round.
func of(samples []sample, figure func(sample) float64) func(round int) float64 {
	return func(round int) float64 { return figure(samples[round]) }
}

// overRounds is the middle one of what a limit comes to.
func overRounds(rounds int, limit func(round int) float64) float64 {
	values := make([]float64, rounds)
	for i := range values {
		values[i] = limit(i)
	}
	return middle(values)
}
