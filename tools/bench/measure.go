package main

import (
	"context"
	"slices"
	"time"
)

// sample is what was measured in one slice.
type sample struct {
	ops       int64
	wall, cpu time.Duration
	// typical is the median time of an operation, if they were done one by one. A
	// mean would depend on what else the machine did.
	typical time.Duration
	// used is what the server's process used, if there is one.
	used usage
}

// figure is a number of a sample.
type figure func(sample) float64

func cpuEach(s sample) float64 { return float64(s.cpu) / float64(max(s.ops, 1)) } // in ns
func typical(s sample) float64 { return float64(s.typical) }                      // in ns
func rate(s sample) float64    { return float64(s.ops) / s.wall.Seconds() }

// side is one of the things that are measured in turns. It works for about as long
// as it is told.
type side func(ctx context.Context, d time.Duration) (sample, error)

// takeTurns measures the sides one after the other, round after round. The first
// round, in which all warm up, does not count. The samples are returned by side.
func (r *measuring) takeTurns(sides ...side) [][]sample { return r.takeTurnsOf(r.rounds, sides...) }

func (r *measuring) takeTurnsOf(rounds int, sides ...side) [][]sample {
	samples := make([][]sample, len(sides))
	for round := range rounds + 1 {
		for i, run := range sides {
			s := must(run(r.ctx, r.For/time.Duration(rounds)))
			if round > 0 {
				samples[i] = append(samples[i], s)
			}
		}
	}
	return samples
}

// perRound is a figure, by round.
type perRound func(round int) float64

// of returns the figure of one side.
func of(samples []sample, f figure) perRound {
	return func(round int) float64 { return f(samples[round]) }
}

// median returns the median of a figure over the samples.
func median(samples []sample, f figure) float64 { return of(samples, f).median(len(samples)) }

func (p perRound) median(rounds int) float64 {
	values := make([]float64, rounds)
	for i := range values {
		values[i] = p(i)
	}
	return middle(values)
}

// middle returns the median of the values, which it sorts.
func middle(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// percentile99 returns what 99 of 100 values do not exceed. It sorts them.
func percentile99(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[(len(values)-1)*99/100]
}
