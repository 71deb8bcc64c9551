package explore

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// node is how a state was reached.
type node struct {
	from uint32
	by   step
}

// search is a breadth-first search.
type search struct {
	w     *world
	all   []state
	nodes []node
	known known
}

// Run looks at every state of a scope, those that take fewer steps first, and
// stops at the first that breaks a promise. An error says what is wrong with
// the scope. When ctx is done, the report is about what was looked at until
// then.
func Run(ctx context.Context, scope Scope) (Report, error) {
	if err := scope.Validate(); err != nil {
		return Report{}, err
	}
	return explore(ctx, scope)
}

func explore(ctx context.Context, scope Scope) (Report, error) {
	began := time.Now()
	w, first, err := newWorld(scope)
	if err != nil {
		return Report{}, fmt.Errorf("scope %q: %w", scope.Name, err)
	}
	r := Report{Scope: scope}
	x := &search{w: w}
	x.add(first, node{})
	x.run(ctx, &r)
	r.States, r.Time = len(x.all), time.Since(began)
	return r, nil
}

// run goes through the states in the order in which they were found.
func (x *search) run(ctx context.Context, r *Report) {
	const look = 1024 // how often to look whether somebody still waits
	end := 1          // of the states of this depth
	for at := 0; at < len(x.all); at++ {
		if at%look == 0 && ctx.Err() != nil {
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

// take looks at where a step led.
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

// add notes a state, if it is new.
func (x *search) add(s state, n node) bool {
	if _, ok := x.known.place(x.all, &s); ok {
		return false
	}
	x.all, x.nodes = append(x.all, s), append(x.nodes, n)
	return true
}

// trace tells the way to a state, and the step after it.
func (x *search) trace(at uint32, last step) []string {
	steps := []node{{at, last}}
	for ; at != 0; at = x.nodes[at].from {
		steps = append(steps, x.nodes[at])
	}
	w := x.w
	w.loud = true
	defer func() { w.loud, w.fault = false, nil }()
	lines := []string{w.opening()}
	for i := len(steps) - 1; i >= 0; i-- {
		lines = append(lines, fmt.Sprintf("%3d %5v  %s", len(steps)-i, span(Units(x.all[steps[i].from].clock)), x.words(steps[i])))
	}
	return lines
}

// words tells one step.
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
