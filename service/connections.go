package service

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ConnectionLimit bounds the connections of one listener.
type ConnectionLimit struct {
	// Listener names it in the log and among the metrics: "api", say. Required.
	Listener string
	// Most is how many connections may be open. Required, at least 1.
	Most int
	// PerAddress is how many of them one remote address may have; of an IPv6
	// address its first 64 bits count. Loopback addresses share all: a proxy
	// may be behind one. 0: a quarter of Most, at least 1.
	PerAddress int
}

// Limit returns a listener of which each connection counts until it is closed.
// One above the limit is accepted and closed at once, which is logged and
// counted: left in the kernel's queue it would look like a service that hangs,
// and an accepted one takes a descriptor that the store may need.
func (s *Service) Limit(l net.Listener, limit ConnectionLimit) (net.Listener, error) {
	if limit.Listener == "" || limit.Most < 1 || limit.PerAddress < 0 {
		return nil, errors.New("service: a ConnectionLimit needs the name of its listener, and Most of at least 1")
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
	told   seldom

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
		_ = c.Close() // it was never ours
		why.Inc()
		l.tell(c.RemoteAddr(), open, why)
	}
}

// admit counts a connection in, or says which count it would exceed.
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

func (l *limited) tell(remote net.Addr, open int, why prometheus.Counter) {
	since, ok := l.told.may(l.s.cfg.Steady.Now())
	if !ok {
		return
	}
	text, most := "too many open connections: new ones are closed at once; find out who leaves them open, or raise the limit", l.limit.Most
	if why == l.refusedPeer {
		text, most = "too many open connections from one address: new ones from there are closed at once; find out who leaves them open, or raise the limit", l.limit.PerAddress
	}
	l.s.log.Warn(text, "listener", l.limit.Listener, "from", remote.String(), "most", most, "open", open, "refused_since_last_told", since)
}

// counted is a connection that counts until it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// CloseWrite is what an HTTP server does first to a connection on which the
// client may still be sending.
func (c *counted) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// shares counts what remote addresses have of something that all share.
type shares struct {
	most int // for one of them
	by   map[netip.Prefix]int
}

// take counts one in, unless the address has its share.
func (s *shares) take(remote netip.Prefix) bool {
	if !remote.IsValid() {
		return true
	}
	if s.by[remote] >= s.most {
		return false
	}
	if s.by == nil {
		s.by = map[netip.Prefix]int{}
	}
	s.by[remote]++
	return true
}

// give is take's end.
func (s *shares) give(remote netip.Prefix) {
	if !remote.IsValid() {
		return
	}
	if s.by[remote]--; s.by[remote] <= 0 {
		delete(s.by, remote)
	}
}

// remoteOf is the address that a share is counted for: an IPv4 address, or the
// 64 bits of an IPv6 address that its owner can't choose. It is invalid where
// none is counted: on loopback, and where there is no address.
func remoteOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	return shareOf(tcp.AddrPort().Addr())
}

func shareOf(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() || ip.IsLoopback() {
		return netip.Prefix{}
	}
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		panic(fmt.Sprintf("service: an address of %d bits has no prefix of %d", ip.BitLen(), bits))
	}
	return p
}

// seldom lets what strangers can bring about be told once in toldPause.
type seldom struct {
	mu     sync.Mutex
	next   time.Duration // steady
	silent int
}

const toldPause = 10 * time.Second

// may says whether to tell now, and how often it happened since it was told
// last, this time included.
func (t *seldom) may(now time.Duration) (since int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.silent++
	if t.next != 0 && now < t.next {
		return 0, false
	}
	since, t.silent, t.next = t.silent, 0, now+toldPause
	return since, true
}

// connectionMetrics count the connections of all listeners.
type connectionMetrics struct {
	accepted, refused *prometheus.CounterVec
	open              *prometheus.GaugeVec
}

func newConnectionMetrics() *connectionMetrics {
	return &connectionMetrics{
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cirrus_connections_accepted_total", Help: "Connections that were accepted, by listener.",
		}, []string{"listener"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cirrus_connections_refused_total", Help: "Connections that were closed at once, by listener and reason: full, or address where one remote address had its share.",
		}, []string{"listener", "reason"}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cirrus_connections_open", Help: "Connections that are open, by listener.",
		}, []string{"listener"}),
	}
}
