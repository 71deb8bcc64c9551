package client

import "time"

// Runner is how a holder waits and runs things beside itself; it does so
// nowhere else. A simulator brings its own and runs holders as coroutines of
// one thread.
type Runner interface {
	// Go runs f beside the caller and returns at once.
	Go(f func())
	// Wait blocks until timer, a or b is ready; nil channels never are. It may
	// take the value that made one ready. It says nothing about which it was:
	// the caller looks for itself.
	Wait(timer <-chan time.Time, a, b <-chan struct{})
}

// goroutines is the Runner of real life.
type goroutines struct{}

func (goroutines) Go(f func()) { go f() }

func (goroutines) Wait(timer <-chan time.Time, a, b <-chan struct{}) {
	select {
	case <-timer:
	case <-a:
	case <-b:
	}
}
