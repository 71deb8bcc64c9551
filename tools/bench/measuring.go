package main

import (
	"context"
	"errors"
	"slices"
)

// measuring is a measurement in progress. It is to a measurement what testing.T is
// to a test: check and must end it when something fails, and what was registered
// with onEnd is closed when it ends.
type measuring struct {
	*bench
	// ctx ends with the measurement, and with it the connections that it has opened.
	ctx  context.Context
	name string
	ends []func() error
}

// failure is what check panics with. It does not leave measure.
type failure struct{ error }

// check ends the measurement if there is an error. Like must, it may be called only
// on the goroutine that runs the measurement.
func check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// must returns the value, or ends the measurement if there is an error.
func must[T any](v T, err error) T {
	check(err)
	return v
}

// measure makes one measurement.
func (b *bench) measure(ctx context.Context, m measurement) (rows []Row, err error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &measuring{bench: b, ctx: ctx, name: m.name}
	defer func() {
		cancel()
		for _, end := range slices.Backward(r.ends) {
			err = errors.Join(err, end())
		}
	}()
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = p.error
		default:
			panic(p)
		}
	}()
	for _, row := range m.run(r) {
		row.Name = m.name
		rows = append(rows, row.judged())
	}
	return rows, nil
}

// onEnd registers what to do when the measurement ends, in reverse order.
func (r *measuring) onEnd(f func() error) { r.ends = append(r.ends, f) }
