package explore

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// node says how a state was reached: by a step from another state.
type node struct {
	from uint32
	by   step
}

// search is a breadth-first search. nodes has an entry for each state in all.
type search struct {
	w     *world
	all   []state
	nodes []node
	known known
}

// Run visits every state of a scope, those that take fewer steps first, and stops
// at the first that breaks a promise. An error says what is wrong with the scope.
// When ctx is done, Run returns a report of the states visited until then.
func Run(ctx context.Context, scope Scope) (Report, error) {
	if err := scope.Validate(); err != nil {
		return Report{}, err
	}
	return explore(ctx, scope)
}

func explore(ctx context.Context, scope Scope) (Report, error) {
	started := time.Now()
	w, first, err := newWorld(scope)
	if err != nil {
		return Report{}, fmt.Errorf("scope %q: %w", scope.Name, err)
	}
	r := Report{Scope: scope}
	x := &search{w: w}
	x.add(first, node{})
	x.run(ctx, &r)
	r.States, r.Time = len(x.all), time.Since(started)
	return r, nil
}

// run visits the states in the order in which they were found.
func (x *search) run(ctx context.Context, r *Report) {
	const checkEvery = 1024 // states between two checks of ctx
	end := 1                // the first state of the next depth
	for at := 0; at < len(x.all); at++ {
		if at%checkEvery == 0 && ctx.Err() != nil {
			r.Interrupted = true
			return
		}
		if at == end {
			end = len(x.all)
			r.Depth++
		}
		if bounded(r.Scope.MaxDepth, r.Depth) || bounded(r.Scope.MaxStates, len(x.all)) {
			return
		}
		from := x.all[at]
		x.w.each(&from, func(by step, next state) {
			r.Steps++
			if r.Violation == nil {
				r.Violation = x.take(uint32(at), by, next)
			}
		})
		if r.Violation != nil {
			r.Depth++
			return
		}
	}
	r.Exhausted = true
}

func bounded(limit, value int) bool { return limit > 0 && value >= limit }

// take adds the state that a step leads to, checks it if it is new, and returns
// the promise that the step or the state breaks, or nil.
func (x *search) take(from uint32, by step, next state) *Violation {
	if x.w.fault == nil && x.add(next, node{from, by}) {
		x.w.check(&next)
	}
	f := x.w.fault
	x.w.fault = nil
	if f == nil {
		return nil
	}
	return &Violation{Promise: f.promise, What: f.what, Trace: x.trace(from, by)}
}

// add adds a state, and reports whether it is new.
func (x *search) add(s state, n node) bool {
	if _, ok := x.known.place(x.all, &s); ok {
		return false
	}
	x.all, x.nodes = append(x.all, s), append(x.nodes, n)
	return true
}

// trace describes the steps from the first state to a state, and one step more.
func (x *search) trace(at uint32, last step) []string {
	steps := []node{{at, last}}
	for ; at != 0; at = x.nodes[at].from {
		steps = append(steps, x.nodes[at])
	}
	w := x.w
	w.verbose = true
	defer func() { w.verbose, w.fault = false, nil }()
	lines := []string{w.opening()}
	for i := len(steps) - 1; i >= 0; i-- {
		clock := span(Units(x.all[steps[i].from].clock))
		lines = append(lines, fmt.Sprintf("%3d %5v  %s", len(steps)-i, clock, x.words(steps[i])))
	}
	return lines
}

// words describes one step.
func (x *search) words(n node) (line string) {
	from := x.all[n.from]
	x.w.words = nil
	x.w.each(&from, func(by step, _ state) {
		if by == n.by {
			line = strings.Join(x.w.words, "")
		}
		x.w.words = nil
	})
	return line
}
