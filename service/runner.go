package service

import "time"

// Runner is how the service runs things beside itself, and how these and unary
// requests block; they do so nowhere else but in the store, the cluster, and the
// HTTP clients that reach other replicas. A simulator brings its own and runs
// the service as coroutines of one thread.
type Runner interface {
	// Go runs f beside the caller and returns at once.
	Go(f func())
	// Wait blocks until timer, a, b or c is ready; nil channels never are. It
	// must take the value that made one ready, if it has one. It says nothing about which it
	// was: the caller looks for itself.
	Wait(timer <-chan time.Time, a, b, c <-chan struct{})
}

// goroutines is the Runner of real life.
type goroutines struct{}

func (goroutines) Go(f func()) { go f() }

func (goroutines) Wait(timer <-chan time.Time, a, b, c <-chan struct{}) {
	select {
	case <-timer:
	case <-a:
	case <-b:
	case <-c:
	}
}
