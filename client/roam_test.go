package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/client"
	"github.com/cirrus-id/cirrus/fencing"
)

// replicas is an HTTP client without a network for three hosts of one service:
// http://a.test, b.test and c.test.
type replicas struct {
	handler http.Handler

	mu    sync.Mutex
	fault map[string]func(*http.Request) error // by host
	calls []string                             // the hosts, in order
}

const (
	hostA, hostB, hostC = "a.test", "b.test", "c.test"
	threeHosts          = "http://a.test,http://b.test,http://c.test"
)

func (r *replicas) Do(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	r.calls = append(r.calls, req.URL.Host)
	fault := r.fault[req.URL.Host]
	r.mu.Unlock()
	if fault != nil {
		if err := fault(req); err != nil {
			return nil, err
		}
	}
	return inProcess{r.handler}.Do(req)
}

// set gives each host a fault; nil: none.
func (r *replicas) set(a, b, c func(*http.Request) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = map[string]func(*http.Request) error{hostA: a, hostB: b, hostC: c}
}

// took returns the hosts that were called since the last took.
func (r *replicas) took() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

// Faults of a host.
func silent(r *http.Request) error {
	<-r.Context().Done()
	return r.Context().Err()
}
func refused(*http.Request) error { return errors.New("connection refused") }
func reset(*http.Request) error   { return io.ErrUnexpectedEOF }

// holdThree holds a lease with three addresses.
func (w *world) holdThree(opts ...client.Option) (*client.Holder, *replicas) {
	w.Helper()
	r := &replicas{handler: w.service.handler()}
	h, err := client.Hold(w.Context(), threeHosts, "app", append([]client.Option{
		client.WithHTTPClient(r), client.WithSteadyClock(w.steady), client.OnChange(w.events.add),
	}, opts...)...)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = h.Release(ctx)
	})
	return h, r
}

// TestGoesRound checks that a holder keeps its lease while any two of three
// addresses fail, in changing turns.
func TestGoesRound(t *testing.T) {
	answers := func(code connect.Code) func(*http.Request) error {
		return func(*http.Request) error { return connect.NewError(code, errors.New("no")) }
	}
	faults := map[string]func(*http.Request) error{
		"silent": silent, "refused": refused, "reset": reset,
		"unavailable": answers(connect.CodeUnavailable),
	}
	for one, x := range faults {
		for other, y := range faults {
			t.Run(one+" and "+other, func(t *testing.T) {
				inWorld(t, func(w *world) {
					h, r := w.holdThree()
					for turn := range 30 {
						switch turn % 3 {
						case 0:
							r.set(x, y, nil)
						case 1:
							r.set(nil, x, y)
						case 2:
							r.set(y, nil, x)
						}
						w.pass(every * 11 / 10)
						w.mints(h, true)
					}
					w.wantChanges(client.Held)
					if acquires, beats, _ := w.service.counts(); acquires != 1 || beats < 20 ||
						h.Epoch() != 1 {
						w.Errorf("%d acquires, %d heartbeats, epoch %d; want 1, at least 20, and 1",
							acquires, beats, h.Epoch())
					}
				})
			})
		}
	}
}

// TestKeepsToOne checks that a holder stays with an address that answers, even if
// it answers with a refusal.
func TestKeepsToOne(t *testing.T) {
	inWorld(t, func(w *world) {
		_, r := w.holdThree()
		w.pass(10 * every)
		w.service.loseAll()
		w.pass(10 * every)
		w.service.set(func(context.Context, any) error {
			return refusal(connect.CodeResourceExhausted, retryIn(time.Second))
		}, nil)
		w.pass(10 * every)
		w.wantChanges(client.Held, client.Lost, client.Reacquired, client.Expired)
		calls := r.took()
		for _, host := range calls {
			if host != calls[0] {
				w.Fatalf("the holder called %v, want only one address", calls)
			}
		}
	})
}

// TestNextOneAtOnce checks that a holder tries all three addresses without a
// backoff if they answer UNAVAILABLE.
func TestNextOneAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		_, r := w.holdThree()
		r.took()
		w.service.set(down, nil)
		w.pass(every * 11 / 10)
		start := time.Now()
		for len(r.took()) < 3 {
			w.pass(10 * time.Millisecond)
			if time.Since(start) > fencing.MaxBackoff {
				w.Fatal("the holder did not try three addresses within one backoff")
			}
		}
	})
}

// TestOneInstanceEverywhere checks that an Acquire whose answer is lost is repeated
// at another address with the same instance ID, and brings the same lease.
func TestOneInstanceEverywhere(t *testing.T) {
	inWorld(t, func(w *world) {
		lost := 0
		w.service.set(nil, func(ctx context.Context, request any) error {
			if lost++; lost <= 2 {
				return hang(ctx, request)
			}
			return nil
		})
		h, r := w.holdThree(client.WithWait(time.Minute))
		calls := r.took()
		if len(calls) != 3 || calls[0] == calls[1] || calls[1] == calls[2] || calls[0] == calls[2] {
			w.Errorf("the holder called %v, want three different addresses", calls)
		}
		if len(w.service.leases) != 1 || h.Epoch() != 1 {
			w.Errorf("%d leases, epoch %d; want 1 and 1", len(w.service.leases), h.Epoch())
		}
		for _, a := range w.service.acquires[:2] {
			if a.GetWait().AsDuration() != 0 {
				w.Errorf("an Acquire has a wait before any address has answered: %v", a)
			}
		}
	})
}

// TestSpread checks that holders start at different addresses, and that the same
// randomness always starts at the same one.
func TestSpread(t *testing.T) {
	starts := map[string]int{}
	for seed := range uint64(300) {
		inWorld(t, func(w *world) {
			_, r := w.holdThree(client.WithRandom(rand.New(rand.NewPCG(seed, 0)).Uint64))
			_, again := w.holdThree(client.WithRandom(rand.New(rand.NewPCG(seed, 0)).Uint64))
			starts[r.took()[0]]++
			if host := again.took()[0]; seed == 0 && starts[host] != 1 {
				t.Errorf("the same seed starts at %s and at another address", host)
			}
		})
	}
	for _, host := range []string{hostA, hostB, hostC} {
		if n := starts[host]; n < 70 || n > 130 {
			t.Errorf("of 300 holders %v start at each address, want 70 to 130", starts)
		}
	}
}

// TestNamesAllThatFailed checks that Hold's error says how each address failed.
func TestNamesAllThatFailed(t *testing.T) {
	inWorld(t, func(w *world) {
		r := &replicas{handler: w.service.handler()}
		r.set(silent, refused, reset)
		ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
		defer cancel()
		_, err := client.Hold(ctx, threeHosts, "app", client.WithHTTPClient(r))
		for _, want := range []string{"http://a.test: no answer in time",
			"http://b.test: unavailable: connection refused", "http://c.test: ", threeHosts} {
			if err == nil || !strings.Contains(err.Error(), want) ||
				!errors.Is(err, context.DeadlineExceeded) {
				w.Errorf("error %v, want %q in it", err, want)
			}
		}
	})
}

// TestNamesTheSilentOne checks that Hold's error names an address that did not
// answer, even if there was no time to try another one.
func TestNamesTheSilentOne(t *testing.T) {
	inWorld(t, func(w *world) {
		r := &replicas{handler: w.service.handler()}
		r.set(silent, silent, silent)
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		if _, err := client.Hold(ctx, threeHosts, "app", client.WithHTTPClient(r)); err == nil ||
			!strings.Contains(err.Error(), ".test: no answer in time") {
			w.Errorf("error %v, want one that names the address without an answer", err)
		}
	})
}

// silentAddress listens at an address that accepts connections and never answers.
func silentAddress(t *testing.T, address string) string {
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// deadAddress returns an address where nothing listens.
func deadAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestDeadAndSilent checks, over a real network, that a lease is held soon if one
// address is dead, one silent, and the third one works, in any order.
func TestDeadAndSilent(t *testing.T) {
	t.Parallel()
	live := httptest.NewServer(newFakeService().handler())
	defer live.Close()
	target := strings.Join([]string{"http://" + deadAddress(t),
		"http://" + silentAddress(t, "127.0.0.1:0"), live.URL}, ",")
	var most time.Duration
	for seed := range uint64(6) {
		start := time.Now()
		h, err := client.Hold(t.Context(), target,
			"app", client.WithRandom(rand.New(rand.NewPCG(seed, 0)).Uint64),
			client.WithWait(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, time.Since(start))
		if err := h.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	t.Logf("the slowest Hold took %v", most.Round(time.Millisecond))
	// if all were quick, none met the silent address
	if most < fencing.MaxTry/3 || most > fencing.MaxTry {
		t.Errorf("the slowest Hold took %v, want a third of %v or more, up to all of it", most,
			fencing.MaxTry)
	}
}

// dns is a resolver whose answers change.
type dns struct {
	mu    sync.Mutex
	ips   []netip.Addr
	err   error
	asked int
}

func (d *dns) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if host != "example.com" {
		return nil, fmt.Errorf("asked for %q", host)
	}
	return append([]netip.Addr(nil), d.ips...), d.err
}

func (d *dns) set(err error, ips ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ips, d.err = nil, err
	for _, ip := range ips {
		d.ips = append(d.ips, netip.MustParseAddr(ip))
	}
}

// serveAt serves a service at an IP and port until the test ends or closes the
// server.
func serveAt(t *testing.T, service *fakeService, address string, secure bool) *httptest.Server {
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	handler := service.handler()
	server := httptest.NewUnstartedServer(
		http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if host, _, _ := strings.Cut(r.Host, ":"); host != "example.com" {
				t.Errorf("the request is for host %q, want example.com", r.Host)
			}
			handler.ServeHTTP(rw, r)
		}))
	server.Listener.Close()
	server.Listener = l
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server
}

// TestEachIPIsAnAddress checks that a holder moves on from an IP of a host name
// that never answers to the next one, and that TLS verifies the name.
func TestEachIPIsAnAddress(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		service := newFakeService()
		service.ttl = time.Second
		live := serveAt(t, service, "127.0.0.1:0", secure)
		u, err := url.Parse(live.URL)
		if err != nil {
			t.Fatal(err)
		}
		silentAddress(t, "127.0.0.2:"+u.Port())
		target := u.Scheme + "://example.com:" + u.Port()
		names := &dns{}
		names.set(nil, "127.0.0.2", "127.0.0.1", "127.0.0.3") // nothing listens at the last one
		var opts []client.Option
		if secure {
			roots := x509.NewCertPool()
			roots.AddCert(live.Certificate())
			opts = append(opts, client.WithTLS(&tls.Config{RootCAs: roots}))
		}
		for seed := range uint64(6) {
			start := time.Now()
			h, err := client.Hold(t.Context(), target,
				"app", append(opts, client.WithLookup(names.lookup),
					client.WithRandom(rand.New(rand.NewPCG(seed, 0)).Uint64))...)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > fencing.MaxTry*3/4 {
				t.Errorf("Hold took %v: a silent IP got more than its share of the time", took)
			}
			if err := h.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if names.asked < 6 {
			t.Errorf("the name was looked up %d times for 6 holders, want at least 6", names.asked)
		}
	}
}

// TestSilentNames checks that neither Hold nor Release waits for lookups that get
// no answer if the service has another address.
func TestSilentNames(t *testing.T) {
	t.Parallel()
	service := newFakeService()
	live := httptest.NewServer(service.handler())
	t.Cleanup(live.Close)
	_, port, _ := net.SplitHostPort(live.Listener.Addr().String())
	lookup := func(ctx context.Context, host string) ([]netip.Addr, error) {
		if strings.HasPrefix(host, "quiet") {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	for _, known := range []string{"http://127.0.0.1:", "http://example.com:"} {
		start := time.Now()
		h, err := client.Hold(t.Context(),
			"http://quiet-a.test,http://quiet-b.test,http://quiet-c.test,"+known+port,
			"app", client.WithLookup(lookup))
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Release(t.Context()); err != nil {
			t.Error(err)
		}
		// A lookup of one silent name takes that long, three in a row would take 6 s.
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: Hold and Release took %v: they waited for silent names", known, took)
		}
	}
}

// TestLooksUpAgain checks that a holder whose only IP fails finds the new IP of
// the host name by itself, and that a failed lookup keeps the known addresses.
func TestLooksUpAgain(t *testing.T) {
	t.Parallel()
	service := newFakeService()
	service.ttl = 6 * time.Second
	first := serveAt(t, service, "127.0.0.1:0", false)
	_, port, _ := net.SplitHostPort(first.Listener.Addr().String())
	names := &dns{}
	names.set(nil, "127.0.0.1")
	changes := make(chan client.Change, 99)
	h, err := client.Hold(t.Context(), "http://example.com:"+port,
		"app", client.WithLookup(names.lookup),
		client.OnChange(func(e client.Event) { changes <- e.Change }))
	if err != nil {
		t.Fatal(err)
	}
	beat := func() {
		t.Helper()
		_, before, _ := service.counts()
		deadline := time.Now().Add(20 * time.Second)
		for after := before; after == before; _, after, _ = service.counts() {
			if time.Now().After(deadline) {
				t.Fatal("no heartbeat within 20 s")
			}
			time.Sleep(5 * time.Millisecond) // poll
		}
	}
	serveAt(t, service, "127.0.0.2:"+port, false)
	names.set(errors.New("no resolver"))
	beat()
	names.set(nil, "127.0.0.2")
	first.CloseClientConnections()
	first.Close()
	beat()
	if err := h.Release(t.Context()); err != nil {
		t.Error(err)
	}
	for len(changes) > 0 {
		if c := <-changes; c != client.Held && c != client.Released {
			t.Errorf("OnChange got %v, want only held and released", c)
		}
	}
}

// relay passes connections on to a server. freeze silences the connections of
// that moment for good; new ones work.
type relay struct {
	net.Listener
	to     string
	mu     sync.Mutex
	frozen chan struct{} // closed when the present connections freeze
	conns  []net.Conn
	wg     sync.WaitGroup
}

func newRelay(t *testing.T, to string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, to: to, frozen: make(chan struct{})}
	r.wg.Go(r.serve)
	t.Cleanup(func() {
		l.Close()
		r.mu.Lock()
		for _, c := range r.conns {
			c.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

func (r *relay) serve() {
	for {
		in, err := r.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.to)
		if err != nil {
			in.Close()
			continue
		}
		r.mu.Lock()
		r.conns = append(r.conns, in, out)
		frozen := r.frozen
		r.mu.Unlock()
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			r.wg.Go(func() { pump(pair[0], pair[1], frozen) })
		}
	}
}

func pump(from, to net.Conn, frozen <-chan struct{}) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		select {
		case <-frozen:
			if err == nil {
				continue // discard it
			}
			return
		default:
		}
		if err != nil {
			to.Close()
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (r *relay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.frozen)
	r.frozen = make(chan struct{})
}

// TestHalfDeadConnection checks that a holder abandons a connection that stopped
// answering, and opens another to the same address: HTTP/2 would keep using the
// old one until its pings time out.
func TestHalfDeadConnection(t *testing.T) {
	t.Parallel()
	service := newFakeService()
	service.ttl = 3 * time.Second
	server := httptest.NewUnstartedServer(service.handler())
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server.Config.Protocols = &protocols
	server.Start()
	defer server.Close()
	r := newRelay(t, server.Listener.Addr().String())
	changes := make(chan client.Change, 99)
	h, err := client.Hold(t.Context(), "http://"+r.Addr().String(), "app", client.WithHTTP2(),
		client.OnChange(func(e client.Event) { changes <- e.Change }))
	if err != nil {
		t.Fatal(err)
	}
	r.freeze()
	start := time.Now()
	for beats := 0; beats == 0; _, beats, _ = service.counts() {
		if time.Since(start) > 20*time.Second {
			t.Fatal("no heartbeat within 20 s")
		}
		time.Sleep(5 * time.Millisecond) // poll
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the next heartbeat took %v, want at most 5 s", took)
	}
	if err := h.Release(t.Context()); err != nil {
		t.Error(err)
	}
	for len(changes) > 0 {
		if c := <-changes; c != client.Held && c != client.Released {
			t.Errorf("OnChange got %v, want only held and released", c)
		}
	}
}

// TestAddressesRefused checks that Hold refuses malformed lists of addresses at
// once.
func TestAddressesRefused(t *testing.T) {
	for _, target := range []string{"", "http://a.test,", "http://a.test,https://b.test",
		"http://a.test,b.test:1", strings.Repeat("http://a.test,", 64) + "http://a.test"} {
		if h, err := client.Hold(t.Context(), target, "app"); h != nil || err == nil {
			t.Errorf("Hold(%q) = %v, %v; want an error", target, h, err)
		}
	}
}
