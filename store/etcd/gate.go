package etcd

import (
	"fmt"
	"sync"

	"github.com/cirrus-id/cirrus/store"
)

var errClosed = fmt.Errorf("%w: open it again", store.ErrClosed)

// gate counts who is inside, so that Close can wait for them.
type gate struct {
	wait func(<-chan struct{})

	mu     sync.Mutex
	inside int
	closed bool
	empty  chan struct{} // closed once the gate is closed and nobody is inside
}

func newGate(wait func(<-chan struct{})) *gate {
	return &gate{wait: wait, empty: make(chan struct{})}
}

// open says whether the gate is open.
func (g *gate) open() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errClosed
	}
	return nil
}

// enter lets the caller in, who must leave.
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

// close lets nobody in any more and waits for those inside. It says whether
// this was the first call.
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
