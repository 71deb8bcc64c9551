//go:build linux

package e2e

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// echo answers each line with itself, and counts them.
type echo struct {
	addr  string
	heard atomic.Int64
}

func startEcho(t *testing.T) *echo {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	e := &echo{addr: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for r := bufio.NewReader(conn); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					e.heard.Add(1)
					io.WriteString(conn, line) //nolint:errcheck // it may be gone
				}
			}()
		}
	}()
	return e
}

// talker is a connection to an echo.
type talker struct {
	net.Conn
	*bufio.Reader
}

func talk(t *testing.T, p *proxy) talker {
	t.Helper()
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return talker{conn, bufio.NewReader(conn)}
}

func (k talker) say(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(k.Conn, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// within bounds what is read next.
func (k talker) within(t *testing.T, d time.Duration) {
	t.Helper()
	if err := k.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
}

// hears waits for a line.
func (k talker) hears(t *testing.T, line string) {
	t.Helper()
	k.within(t, timeout)
	if got, err := k.ReadString('\n'); err != nil || got != line+"\n" {
		t.Fatalf("heard %q, %v; want %q", got, err, line)
	}
}

// hearsNothing looks for a moment whether something comes.
func (k talker) hearsNothing(t *testing.T) {
	t.Helper()
	k.within(t, 50*time.Millisecond)
	if got, err := k.ReadString('\n'); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("heard %q, %v; want nothing", got, err)
	}
}

func (p *proxy) must(t testing.TB, f fault) {
	t.Helper()
	if err := p.impose(f); err != nil {
		t.Fatal(err)
	}
}

func (k talker) knows(t *testing.T) {
	t.Helper()
	k.say(t, "hello")
	k.hears(t, "hello")
}

func TestProxyHolds(t *testing.T) {
	e := startEcho(t)
	p := startProxy(t, e.addr)
	k := talk(t, p)
	k.knows(t)
	p.must(t, cutHeld)
	k.say(t, "late")
	late := talk(t, p)
	late.say(t, "later")
	k.hearsNothing(t)
	if n := e.heard.Load(); n != 1 {
		t.Fatalf("%d lines came over the cut", n-1)
	}
	p.must(t, fault{})
	k.hears(t, "late")
	late.hears(t, "later")
}

// TestProxyOneWay: with requests held nothing arrives; with answers held or lost
// what is asked is done, and nobody hears of it.
func TestProxyOneWay(t *testing.T) {
	for _, tt := range []struct {
		name    string
		fault   fault
		arrives bool
		after   string // what is heard when it is over
	}{
		{"requests held", requestsCut, false, "deed"},
		{"answers held", answersCut, true, "deed"},
		{"answers lost", answersLost, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := startEcho(t)
			p := startProxy(t, e.addr)
			k := talk(t, p)
			k.knows(t)
			p.must(t, tt.fault)
			k.say(t, "deed")
			if tt.arrives {
				eventually(t, "the deed", func() bool { return e.heard.Load() == 2 })
			}
			k.hearsNothing(t)
			if n := e.heard.Load(); (n == 2) != tt.arrives {
				t.Fatalf("%d lines arrived", n)
			}
			p.must(t, fault{})
			if tt.after != "" {
				k.hears(t, tt.after)
				return
			}
			k.say(t, "more")
			k.hearsNothing(t) // it stays of no use
			talk(t, p).knows(t)
		})
	}
}

func TestProxyLoses(t *testing.T) {
	e := startEcho(t)
	p := startProxy(t, e.addr)
	k := talk(t, p)
	k.knows(t)
	p.must(t, cutLost)
	k.say(t, "lost")
	hanging := talk(t, p)
	hanging.say(t, "lost, too")
	k.hearsNothing(t)
	p.must(t, fault{})
	hanging.hearsNothing(t)
	talk(t, p).knows(t)
	if n := e.heard.Load(); n != 2 {
		t.Errorf("%d lines arrived, want 2", n)
	}
}

func TestProxyRefuses(t *testing.T) {
	p := startProxy(t, startEcho(t).addr)
	k := talk(t, p)
	k.knows(t)
	p.must(t, cutRefused)
	if _, err := k.ReadString('\n'); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection there was ended with %v", err)
	}
	if conn, err := net.Dial("tcp", p.addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new one: %v, %v; want it refused", conn, err)
	}
	p.must(t, fault{})
	talk(t, p).knows(t)
}

func TestProxyDelays(t *testing.T) {
	p := startProxy(t, startEcho(t).addr)
	k := talk(t, p)
	k.knows(t)
	const delay = 30 * time.Millisecond
	p.must(t, fault{up: way{delay: delay}, down: way{delay: delay}})
	began := time.Now()
	k.knows(t)
	if took := time.Since(began); took < 2*delay {
		t.Errorf("there and back in %v, want at least %v", took, 2*delay)
	}
}

// TestProxyEnds: both ends hear of the other's, and a target that is not there
// is as if the proxy were not.
func TestProxyEnds(t *testing.T) {
	e := startEcho(t)
	p := startProxy(t, e.addr)
	k := talk(t, p)
	k.knows(t)
	if err := k.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	k.within(t, timeout)
	if _, err := k.ReadString('\n'); !errors.Is(err, io.EOF) {
		t.Errorf("ended with %v, want EOF", err)
	}
	nobody := startProxy(t, freeAddr(t))
	conn, err := net.Dial("tcp", nobody.addr)
	if err == nil {
		k = talker{conn, bufio.NewReader(conn)}
		defer k.Close()
		k.within(t, timeout)
		_, err = k.ReadString('\n')
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a target that isn't there: %v, want a reset", err)
	}
}
