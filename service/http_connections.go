package service

import (
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// ConnectionLimit bounds the connections of one listener.
type ConnectionLimit struct {
	// Listener names it in the log and among the metrics: "api", say. Required.
	Listener string
	// Most is how many connections may be open. Required, at least 1.
	Most int
	// PerAddress is how many of them one remote address may have. An IPv6 address
	// counts by its first 64 bits. It does not limit loopback addresses: a proxy
	// may have one. 0: a quarter of Most, at least 1.
	PerAddress int
}

// Limit returns a listener whose connections are counted until they are closed. A
// connection above the limit is accepted and closed at once, which is logged and
// counted: in the kernel's queue it would look like a service that hangs, and open it
// would take a descriptor that the store may need.
func (s *Service) Limit(l net.Listener, limit ConnectionLimit) (net.Listener, error) {
	if limit.Listener == "" || limit.Most < 1 || limit.PerAddress < 0 {
		return nil, errors.New(
			"service: a ConnectionLimit needs the name of its listener, and Most of at least 1")
	}
	if limit.PerAddress == 0 {
		limit.PerAddress = max(1, limit.Most/4)
	}
	m := s.metrics.connections()
	return &limited{
		Listener: l, s: s, limit: limit, shares: shares{most: limit.PerAddress},
		accepted:    m.accepted.WithLabelValues(limit.Listener),
		refusedFull: m.refused.WithLabelValues(limit.Listener, "full"),
		refusedPeer: m.refused.WithLabelValues(limit.Listener, "address"),
		gauge:       m.open.WithLabelValues(limit.Listener),
	}, nil
}

// limited is a listener with a ConnectionLimit.
type limited struct {
	net.Listener
	s     *Service
	limit ConnectionLimit

	mu     sync.Mutex
	open   int
	shares shares
	lines  seldom

	accepted, refusedFull, refusedPeer prometheus.Counter
	gauge                              prometheus.Gauge
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		remote := remoteOf(c.RemoteAddr())
		open, why := l.admit(remote)
		if why == nil {
			l.accepted.Inc()
			return &counted{Conn: c, leave: sync.OnceFunc(func() { l.leave(remote) })}, nil
		}
		_ = c.Close() // nothing was sent on it
		why.Inc()
		l.log(c.RemoteAddr(), open, why)
	}
}

// admit counts a connection, or returns the counter of the limit that it exceeds.
func (l *limited) admit(remote netip.Prefix) (open int, refused prometheus.Counter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.limit.Most {
		return l.open, l.refusedFull
	}
	if !l.shares.take(remote) {
		return l.open, l.refusedPeer
	}
	l.open++
	l.gauge.Set(float64(l.open))
	return l.open, nil
}

func (l *limited) leave(remote netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shares.give(remote)
	l.open--
	l.gauge.Set(float64(l.open))
}

func (l *limited) log(remote net.Addr, open int, why prometheus.Counter) {
	since, ok := l.lines.may(l.s.cfg.Steady.Now())
	if !ok {
		return
	}
	text, most := "too many open connections: new ones are closed at once; find out who leaves them open, or raise the limit", l.limit.Most
	if why == l.refusedPeer {
		text, most = "too many open connections from one address: new ones from there are closed at once; find out who leaves them open, or raise the limit", l.limit.PerAddress
	}
	l.s.log.Warn(text, "listener", l.limit.Listener, "from", remote.String(), "most", most,
		"open", open, "refused_since_last_told", since)
}

// counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// CloseWrite closes the sending side. An HTTP server does so first if the client may
// still be sending.
func (c *counted) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
