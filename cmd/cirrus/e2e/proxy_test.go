//go:build linux

package e2e

import (
	"net"
	"sync"
	"testing"
	"time"
)

// proxy passes TCP connections on to a target, and lets a test cut them, slow
// them down and refuse them.
type proxy struct {
	addr, target string

	mu     sync.Mutex
	fault  fault
	news   chan struct{} // closed when the fault changes
	listen net.Listener  // nil while connections are refused
	conns  map[net.Conn]bool
	done   chan struct{}
	tasks  sync.WaitGroup
}

// fault is what a proxy does to connections. The zero fault does nothing.
type fault struct {
	up, down way // to the target, and from it
	// refuse resets open connections and refuses new ones.
	refuse bool
}

// way is what a proxy does to the bytes of one direction.
type way struct {
	// hold keeps them back until the fault ends, as a cut does: TCP repeats what was
	// in flight, which arrives late.
	hold bool
	// lose discards them. The connection stays open, and can't be used after that.
	lose bool
	// delay is how long each chunk is held back.
	delay time.Duration
}

// Cuts of both directions, and of one.
var (
	cutHeld     = fault{up: way{hold: true}, down: way{hold: true}}
	cutLost     = fault{up: way{lose: true}, down: way{lose: true}}
	cutRefused  = fault{refuse: true}
	requestsCut = fault{up: way{hold: true}}
	answersCut  = fault{down: way{hold: true}}
	answersLost = fault{down: way{lose: true}}
)

// startProxy starts a proxy that lasts as long as the test.
func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	p := &proxy{addr: freeAddr(t), target: target, news: make(chan struct{}),
		conns: map[net.Conn]bool{}, done: make(chan struct{})}
	if err := p.impose(fault{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// impose replaces the fault.
func (p *proxy) impose(f fault) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
	close(p.news)
	p.news = make(chan struct{})
	if f.refuse {
		p.hangUp()
		return nil
	}
	if p.listen != nil {
		return nil
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return err
	}
	p.listen = l
	p.tasks.Go(func() { p.accept(l) })
	return nil
}

// hangUp stops listening and resets all connections.
func (p *proxy) hangUp() {
	if p.listen != nil {
		p.listen.Close()
		p.listen = nil
	}
	for conn := range p.conns {
		reset(conn)
	}
}

func (p *proxy) close() {
	p.mu.Lock()
	close(p.done)
	p.hangUp()
	p.mu.Unlock()
	p.tasks.Wait()
}

// reset ends a connection as the death of a process does.
func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0) // it may be closed
	conn.Close()
}

func (p *proxy) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // it was closed
		}
		p.tasks.Go(func() { p.serve(conn) })
	}
}

// keep records a connection, so that it can be reset. It reports whether the proxy
// still passes connections on.
func (p *proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return false
	default:
	}
	if !p.fault.refuse {
		p.conns[conn] = true
	}
	return !p.fault.refuse
}

func (p *proxy) forget(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
	conn.Close()
}

// serve passes one connection on. A new connection hangs while either direction is
// cut.
func (p *proxy) serve(near net.Conn) {
	if !p.keep(near) {
		reset(near)
		return
	}
	defer p.forget(near)
	up, ok := p.await(
		func(f fault) way {
			return way{hold: f.up.hold || f.down.hold, lose: f.up.lose ||
				f.down.lose}
		})
	if !ok || up.lose {
		swallow(near)
		return
	}
	far, err := net.DialTimeout("tcp", p.target, time.Second)
	if err != nil {
		reset(near)
		return
	}
	if !p.keep(far) {
		reset(far)
		return
	}
	defer p.forget(far)
	var both sync.WaitGroup
	both.Go(func() { p.pump(near, far, func(f fault) way { return f.up }) })
	both.Go(func() { p.pump(far, near, func(f fault) way { return f.down }) })
	both.Wait()
}

// pump moves the bytes of one direction until it ends.
func (p *proxy) pump(from, to net.Conn, which func(fault) way) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		w, ok := p.await(which)
		switch {
		case !ok:
			return
		case w.lose:
			// The other side gets nothing more, not even the end of the connection.
			if err == nil {
				swallow(from)
			}
			return
		case !p.pause(w.delay):
			return
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				from.Close()
				return
			}
		}
		if err != nil {
			_ = to.(*net.TCPConn).CloseWrite() // it may be closed already
			return
		}
	}
}

// await waits while a direction is held, and returns what to do with it then. It
// returns false if the proxy has ended.
func (p *proxy) await(which func(fault) way) (w way, ok bool) {
	for {
		p.mu.Lock()
		w, news := which(p.fault), p.news
		p.mu.Unlock()
		if !w.hold {
			return w, true
		}
		select {
		case <-news:
		case <-p.done:
			return w, false
		}
	}
}

func (p *proxy) pause(d time.Duration) bool {
	if d == 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.done:
		return false
	}
}

// swallow reads and discards until the connection ends.
func swallow(conn net.Conn) {
	buf := make([]byte, 4<<10)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}
