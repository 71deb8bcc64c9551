package etcd

import (
	"fmt"
	"sync"

	"github.com/cirrus-id/cirrus/store"
)

var errClosed = fmt.Errorf("%w: open it again", store.ErrClosed)

// gate counts the calls in progress, so that Close can wait for them.
type gate struct {
	wait func(<-chan struct{})

	mu     sync.Mutex
	inside int
	closed bool
	empty  chan struct{} // closed once the gate is closed and inside is 0
}

func newGate(wait func(<-chan struct{})) *gate {
	return &gate{wait: wait, empty: make(chan struct{})}
}

// check returns errClosed if the gate is closed.
func (g *gate) check() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errClosed
	}
	return nil
}

// enter counts a call, which must leave. It returns errClosed if the gate is closed.
func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errClosed
	}
	g.inside++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.closed && g.inside == 0 {
		close(g.empty)
	}
}

// close closes the gate and waits for the calls inside. It reports whether this was
// the first close.
func (g *gate) close() bool {
	g.mu.Lock()
	first := !g.closed
	g.closed = true
	if first && g.inside == 0 {
		close(g.empty)
	}
	g.mu.Unlock()
	g.wait(g.empty)
	return first
}
