package reach

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// conns are the connections of the HTTP clients that this package makes. A transport
// closes only connections that it knows to be idle. A connection whose last call has
// just returned may not be known as idle yet, so conns closes them itself at the end.
type conns struct {
	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool
}

// conn removes itself from its conns when it is closed.
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

// watch adds every connection that the transport dials.
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

// add adds a connection, or closes it if conns is closed already: a transport continues
// to dial for a call that was cancelled.
func (cs *conns) add(c net.Conn) (net.Conn, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	added := &conn{Conn: c, of: cs}
	cs.open[added] = struct{}{}
	return added, nil
}

// close closes all connections, and those that are added later. All calls must have
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
		_ = c.Close() // no call uses it any more
	}
}
