package client

import "time"

// Runner waits and runs functions concurrently for a holder, which blocks and
// starts goroutines nowhere else. A simulator brings its own Runner and runs
// holders as coroutines of one thread.
type Runner interface {
	// Go runs f concurrently with the caller and returns at once.
	Go(f func())
	// Wait blocks until timer, a or b is ready; nil channels never are. It may
	// receive the value that made a channel ready. It does not say which channel
	// was ready: the caller checks.
	Wait(timer <-chan time.Time, a, b <-chan struct{})
}

// goroutines is the Runner outside simulators.
type goroutines struct{}

func (goroutines) Go(f func()) { go f() }

func (goroutines) Wait(timer <-chan time.Time, a, b <-chan struct{}) {
	select {
	case <-timer:
	case <-a:
	case <-b:
	}
}
