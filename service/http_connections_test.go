package service

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// fakeConn is a connection from somewhere.
type fakeConn struct {
	net.Conn
	from   net.Addr
	closed int
}

func (c *fakeConn) RemoteAddr() net.Addr { return c.from }
func (c *fakeConn) Close() error         { c.closed++; return nil }

// lineUp is a listener at which connections stand in line.
type lineUp struct {
	net.Listener
	line []*fakeConn
}

func (l *lineUp) Accept() (net.Conn, error) {
	if len(l.line) == 0 {
		return nil, io.EOF
	}
	c := l.line[0]
	l.line = l.line[1:]
	return c, nil
}

func (l *lineUp) come(from ...string) (all []*fakeConn) {
	for _, f := range from {
		all = append(
			all, &fakeConn{from: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(f),
				1))})
	}
	l.line = append(l.line, all...)
	return all
}

// Connections above the limit, or above one address's share, are closed and
// counted; each that ends makes room; the log says so, seldom.
func TestConnectionLimit(t *testing.T) {
	h := newHost(t, nil)
	inner := &lineUp{}
	l, err := h.s.Limit(inner, ConnectionLimit{Listener: "test", Most: 8})
	if err != nil {
		t.Fatal(err)
	}
	accept := func() []net.Conn {
		var got []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				return got
			}
			got = append(got, c)
		}
	}
	inner.come("10.0.0.1", "10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1", "2001:db8::1", "2001:db8::2",
		"2001:db8::3", "2001:db8:1::1")
	got := accept()
	if len(got) != 5 { // two and two of one address each, and one
		t.Fatalf("%d connections were accepted, want 5", len(got))
	}
	last := inner.come("127.0.0.1", "127.0.0.1", "::1", "127.0.0.1", "10.0.0.9")
	got = append(got, accept()...)
	if len(got) != 8 || last[2].closed != 0 || last[3].closed != 1 || last[4].closed != 1 {
		t.Fatalf("%d connections were accepted, want 8, and the rest closed", len(got))
	}
	if n := strings.Count(h.log.String(), "too many open connections"); n != 1 {
		t.Errorf("the log tells %d times of what happened at once, want 1:\n%s", n, h.log)
	}
	for range 2 { // closed twice, it counts once
		if err := got[0].Close(); err != nil {
			t.Fatal(err)
		}
	}
	h.clock.Advance(logPause)
	inner.come("10.0.0.1", "10.0.0.1")
	if more := accept(); len(more) != 1 {
		t.Errorf("%d connections were accepted in the place of one, want 1", len(more))
	}
	if n := strings.Count(h.log.String(), "too many open connections"); n != 2 ||
		!strings.Contains(h.log.String(), `"refused_since_last_told":5`) {
		t.Errorf("the log tells %d times, want 2, and that 5 were refused since:\n%s", n, h.log)
	}
	m := h.s.metrics.connections()
	for name, c := range map[string]struct{ got, want float64 }{
		"accepted":           {valueOf(t, m.accepted.WithLabelValues("test")), 9},
		"refused as full":    {valueOf(t, m.refused.WithLabelValues("test", "full")), 3},
		"refused by address": {valueOf(t, m.refused.WithLabelValues("test", "address")), 3},
		"open":               {valueOf(t, m.open.WithLabelValues("test")), 8},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

func valueOf(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var v dto.Metric
	if err := m.Write(&v); err != nil {
		t.Fatal(err)
	}
	return v.GetCounter().GetValue() + v.GetGauge().GetValue()
}

// What can't be a limit is refused.
func TestConnectionLimitIsOne(t *testing.T) {
	h := newHost(t, nil)
	for _, limit := range []ConnectionLimit{{}, {Listener: "a"}, {Most: 1},
		{Listener: "a", Most: -1}, {Listener: "a", Most: 1, PerAddress: -1}} {
		if _, err := h.s.Limit(&lineUp{}, limit); err == nil {
			t.Errorf("%+v was taken", limit)
		}
	}
}

// A server goes on while its connections are taken: those there are are
// answered, and there is room again when one ends, by its own end or because
// nobody used it.
func TestServerAtItsLimit(t *testing.T) {
	h := newHost(t, nil)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := h.s.Limit(inner, ConnectionLimit{Listener: "test", Most: 3})
	if err != nil {
		t.Fatal(err)
	}
	server := NewHTTPServer(h.s.Handler(), slog.New(slog.DiscardHandler))
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(l) }()
	defer func() { server.Close(); <-served }()
	ask := func(c net.Conn) error {
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		_, err := io.ReadAtLeast(c, make([]byte, 4096), 12)
		return err
	}
	var open []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := ask(c); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	for range 10 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if ask(c) == nil {
			t.Error("a connection above the limit was answered")
		}
		c.Close()
	}
	if err := ask(open[0]); err != nil {
		t.Errorf("a connection within the limit: %v", err)
	}
	open[1].Close()
	for tries := 0; ; tries++ { // the server notices in a moment
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		err = ask(c)
		c.Close()
		if err == nil {
			break
		}
		if tries == 1000 {
			t.Fatalf("no connection was accepted in the place of one that was closed: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// What net/http says of connections that it can't accept is a warning, and what
// else it says is not.
func TestAcceptErrorsAreWarnings(t *testing.T) {
	var b syncBuffer
	server := NewHTTPServer(http.NotFoundHandler(), slog.New(slog.NewTextHandler(&b, nil)))
	server.ErrorLog.Print("http: TLS handshake error from an unknown client")
	for range 3 {
		server.ErrorLog.Print(
			"http: Accept error: accept tcp 127.0.0.1:1: accept4: too many open files; retrying in 5ms")
	}
	if got := b.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN") ||
		!strings.Contains(got, "too many open files") {
		t.Errorf("the log says\n%s", got)
	}
}
