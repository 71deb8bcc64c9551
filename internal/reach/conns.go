package reach

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// conns are the connections of our own HTTP clients. The transport closes
// only those that it has found idle, which one may not be yet whose last call
// has just returned; so their owner closes them itself in the end.
type conns struct {
	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool
}

// conn tells its conns when it is closed.
type conn struct {
	net.Conn
	of *conns
}

func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// watch has all that the transport dials noted down.
func (cs *conns) watch(t *http.Transport) {
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return cs.add(c)
	}
}

// add notes a connection down, or closes it if it comes too late: a transport
// goes on dialing for a call that was cancelled.
func (cs *conns) add(c net.Conn) (net.Conn, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	noted := &conn{Conn: c, of: cs}
	cs.open[noted] = struct{}{}
	return noted, nil
}

// close closes all connections, and those still to come. All calls must have
// returned.
func (cs *conns) close() {
	cs.mu.Lock()
	cs.closed = true
	open := make([]*conn, 0, len(cs.open))
	for c := range cs.open {
		open = append(open, c)
	}
	cs.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // nobody is left to care
	}
}
