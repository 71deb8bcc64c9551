package service

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// soon are deadlines that a test can wait for.
var soon = httpTimes{arrive: 150 * time.Millisecond, take: 150 * time.Millisecond}

// impatient is a server with such deadlines. It counts the requests that are
// under way.
type impatient struct {
	t    *testing.T
	addr string
	url  string

	mu    sync.Mutex
	under map[string]int // by path
	moved chan struct{}  // closed at the next change
}

func serveSoon(t *testing.T, h http.Handler) *impatient {
	t.Helper()
	i := &impatient{t: t, under: map[string]int{}, moved: make(chan struct{})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i.addr, i.url = l.Addr().String(), "http://"+l.Addr().String()
	server := NewHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.count(r.URL.Path, 1)
		defer i.count(r.URL.Path, -1)
		h.ServeHTTP(w, r)
	}), slog.New(slog.DiscardHandler))
	server.HTTP2.WriteByteTimeout = soon.take
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return i
}

func (i *impatient) count(path string, n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.under[path] += n
	close(i.moved)
	i.moved = make(chan struct{})
}

// wait waits until so many requests for a path are under way.
func (i *impatient) wait(path string, want int) {
	i.t.Helper()
	late := time.After(time.Minute)
	for {
		i.mu.Lock()
		got, moved := i.under[path], i.moved
		i.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-moved:
		case <-late:
			i.t.Fatalf("%d requests for %s are under way, want %d", got, path, want)
		}
	}
}

// dial connects with the smallest buffer that there is.
func (i *impatient) dial() net.Conn {
	i.t.Helper()
	c, err := net.Dial("tcp", i.addr)
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { c.Close() })
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		i.t.Fatal(err)
	}
	return c
}

// post sends a request over HTTP/1.1, as text.
func post(c net.Conn, path, ctype, header, body string) {
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\n%s\r\n%s", path,
		ctype, header, body)
}

func length(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }

// framed is a client's side of HTTP/2, frame by frame.
type framed struct {
	*http2.Framer
	c net.Conn
}

// frames begins HTTP/2 with a window of so many bytes for each stream.
func (i *impatient) frames(window uint32) *framed {
	c := i.dial()
	_, _ = io.WriteString(c, http2.ClientPreface)
	f := &framed{http2.NewFramer(c, bufio.NewReader(c)), c}
	_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	return f
}

// ask begins a request, and sends its body if there is one.
func (f *framed) ask(stream uint32, path, ctype string, body []byte) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, kv := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", path},
		{":authority", "127.0.0.1"}, {"content-type", ctype}} {
		_ = e.WriteField(hpack.HeaderField{Name: kv[0], Value: kv[1]})
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: b.Bytes(),
		EndHeaders: true})
	if body != nil {
		_ = f.WriteData(stream, true, body)
	}
}

// untilReset reads frames, and gives no window, until the server resets the
// stream.
func (f *framed) untilReset(t *testing.T) {
	t.Helper()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("the connection ended before the stream was reset: %v", err)
		}
		switch frame := frame.(type) {
		case *http2.RSTStreamFrame:
			return
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		}
	}
}

const (
	acquirePath = cirrusv1connect.LeaseServiceAcquireProcedure
	watchPath   = cirrusv1connect.AdminServiceWatchProcedure
)

// A stream on which nothing happens lives for longer than any deadline: over
// HTTP/2 and HTTP/1.1, and so does a reflection that goes on. A request may wait
// for longer than one, too.
func TestQuietStreamsLive(t *testing.T) {
	h := newHost(t, nil)
	i := serveSoon(t, h.s.handler(soon))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	h2 := &http.Client{Transport: h2c()}
	defer h2.CloseIdleConnections()
	var lease *cirrusv1.Lease
	next := map[string]func() string{}
	for name, c := range map[string]cirrusv1connect.AdminServiceClient{
		"Watch over HTTP/2":   cirrusv1connect.NewAdminServiceClient(h2, i.url),
		"Watch over gRPC":     cirrusv1connect.NewAdminServiceClient(h2, i.url, connect.WithGRPC()),
		"Watch over HTTP/1.1": cirrusv1connect.NewAdminServiceClient(h.h1, i.url),
	} {
		stream, err := c.Watch(ctx, &cirrusv1.WatchRequest{})
		if err != nil || !stream.Receive() {
			t.Fatalf("%s: %v, %v", name, err, stream.Err())
		}
		next[name] = func() string {
			if !stream.Receive() {
				return fmt.Sprint(stream.Err())
			}
			return stream.Msg().Event.String()
		}
	}
	health, err := healthClient(h2, i.url, healthWatchProcedure,
		connect.WithGRPC()).CallServerStream(ctx,
		connect.NewRequest(&healthv1.HealthCheckRequest{}))
	if err != nil || !health.Receive() {
		t.Fatalf("health: %v, %v", err, health.Err())
	}
	for range 3 { // a reader is cut off: deadlines have passed by now
		f := i.frames(0)
		f.ask(1, watchPath, "application/connect+json", envelope(0, 2, []byte("{}")))
		f.untilReset(t)
	}
	lease = must(cirrusv1connect.NewLeaseServiceClient(h2, i.url).Acquire(ctx,
		acquireRequest("", "a", 0))).Lease
	for name, receive := range next {
		if got := receive(); got != "EVENT_GRANTED" {
			t.Errorf("%s, after a rest: %s, want the grant of node ID %d", name, got, lease.NodeId)
		}
	}
	h.s.StopRequests()
	if !health.Receive() || health.Msg().Status != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health, after a rest: %v, %v", health.Msg(), health.Err())
	}
}

// A request may wait for its answer for longer than its body may take to
// arrive, and the server notices all the while if its client hangs up.
func TestWaitIsNoArrival(t *testing.T) {
	h := newHost(t, nodes(1))
	i := serveSoon(t, h.s.handler(soon))
	p := h.protocols()[1]
	held := must(p.leases.Acquire(context.Background(), acquireRequest("", "holder", 0))).Lease
	for name, c := range map[string]*http.Client{"HTTP/1.1": h.h1, "HTTP/2": h.h2} {
		answers := make(chan error, 1)
		go func() {
			got, err := cirrusv1connect.NewLeaseServiceClient(c,
				i.url).Acquire(context.Background(), acquireRequest("", name, time.Minute))
			if err == nil {
				held = got.Lease
			}
			answers <- err
		}()
		i.wait(acquirePath, 1)
		for range 2 { // so the deadline has passed by now
			i.tooSlow(
				fmt.Sprintf(
					"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", cirrusv1connect.LeaseServiceHeartbeatProcedure))
		}
		select {
		case err := <-answers:
			t.Fatalf("%s: an Acquire that waits was answered: %v", name, err)
		default:
		}
		if _, err := p.leases.Release(context.Background(),
			releaseRequest(held, unused(held))); err != nil {
			t.Fatal(err)
		}
		if err := <-answers; err != nil {
			t.Errorf("%s: after waiting for longer than a body may take: %v", name, err)
		}
	}
	ctx, hangUp := context.WithCancel(context.Background())
	go func() {
		_, _ = cirrusv1connect.NewLeaseServiceClient(h.h1, i.url).Acquire(ctx,
			acquireRequest("", "leaves", time.Minute))
	}()
	i.wait(acquirePath, 1)
	hangUp()
	i.wait(acquirePath, 0)
}

// unused says that no ID was minted under a lease.
func unused(l *cirrusv1.Lease) *int64 {
	last := l.FloorMs - 1
	return &last
}

// tooSlow sends the beginning of a request over HTTP/1.1, and wants to be told
// that the rest took too long.
func (i *impatient) tooSlow(text string) {
	i.t.Helper()
	c := i.dial()
	_, _ = io.WriteString(c, text)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		i.t.Fatalf("no answer to a body that didn't arrive: %v", err)
	}
	defer resp.Body.Close()
	if body := must(io.ReadAll(resp.Body)); resp.StatusCode != http.StatusGatewayTimeout ||
		!strings.Contains(string(body), "had not arrived") {
		i.t.Fatalf("a body that didn't arrive: %s %s", resp.Status, body)
	}
}

// A body that does not arrive holds no request, whatever the protocol.
func TestBodyHasToArrive(t *testing.T) {
	h := newHost(t, nil)
	i := serveSoon(t, h.s.handler(soon))
	for _, path := range []string{acquirePath, cirrusv1connect.AdminServiceCreatePoolProcedure} {
		head := "POST " + path +
			" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
		i.tooSlow(head + "Content-Length: 5\r\n\r\n")
		i.tooSlow(head + "Content-Length: 5\r\n\r\n{")
		i.tooSlow(head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
		i.wait(path, 0)
	}
	for path, ctype := range map[string]string{acquirePath: "application/grpc+json",
		watchPath: "application/connect+json"} {
		f := i.frames(1 << 16)
		f.ask(1, path, ctype, nil) // and no body
		i.wait(path, 1)
		i.wait(path, 0)
		f.c.Close()
	}
}

// A body that is malformed or broken off is the client's mistake.
func TestMalformedBody(t *testing.T) {
	h := newHost(t, nil)
	for name, rest := range map[string]string{
		"a chunk of no length": "Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
		"a chunk without end":  "Transfer-Encoding: chunked\r\n\r\n2\r\n{}oops\r\n0\r\n\r\n",
		"a body broken off":    "Content-Length: 100\r\n\r\n{}",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c,
			"POST "+acquirePath+
				" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"+rest)
		_ = c.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if body := must(io.ReadAll(resp.Body)); resp.StatusCode != http.StatusBadRequest ||
			!strings.Contains(string(body), "invalid_argument") {
			t.Errorf("%s: %s %s, want 400", name, resp.Status, body)
		}
		resp.Body.Close()
		c.Close()
	}
}

// Who does not read an answer is cut off, whether it is one or a stream of
// them, and the handler ends.
func TestUnreadAnswersEnd(t *testing.T) {
	h := newHost(t, nil)
	p := h.protocols()[1]
	must(p.leases.Acquire(context.Background(), acquireRequest("", "a", 0)))
	i := serveSoon(t, h.s.handler(soon))
	ask := map[string]struct {
		ctype string
		body  []byte
	}{
		cirrusv1connect.AdminServiceListLeasesProcedure: {asJSON, []byte("{}")},
		acquirePath:          {"application/grpc+json", envelope(0, 2, []byte("{}"))},
		watchPath:            {"application/connect+json", envelope(0, 2, []byte("{}"))},
		healthWatchProcedure: {"application/grpc+json", envelope(0, 2, []byte("{}"))},
	}
	for path, a := range ask {
		t.Run("HTTP/2, no window"+path, func(t *testing.T) {
			f := i.frames(0)
			defer f.c.Close()
			f.ask(1, path, a.ctype, a.body)
			if path != acquirePath { // whose refusal is all in the header
				f.untilReset(t)
			}
			i.wait(path, 0)
		})
	}
}

// The same, where the answer is larger than what the kernel buffers.
func TestUnreadLargeAnswersEnd(t *testing.T) {
	const one, stream = "/one", watchPath
	large := make([]byte, 64<<20)
	wrote := make(chan error, 1)
	i := serveSoon(
		t, soon.middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == one {
				_, err := w.Write(large)
				wrote <- err
				return
			}
			for {
				if _, err := w.Write(large[:1<<10]); err != nil {
					wrote <- err
					return
				}
				w.(http.Flusher).Flush()
			}
		})))
	for _, path := range []string{one, stream} {
		for name, ask := range map[string]func(){
			"HTTP/1.1": func() { post(i.dial(), path, asJSON, length(2), "{}") },
			"HTTP/2, no window": func() {
				i.frames(0).ask(1, path, asJSON, []byte("{}"))
			},
			"HTTP/2, a window and no reader": func() {
				f := i.frames(1 << 30)
				_ = f.WriteWindowUpdate(0, 1<<30)
				f.ask(1, path, asJSON, []byte("{}"))
			},
		} {
			ask()
			select {
			case err := <-wrote:
				if err == nil {
					t.Errorf("%s, %s: 64 MiB were written to nobody", name, path)
				}
			case <-time.After(time.Minute):
				t.Fatalf("%s, %s: the handler still writes", name, path)
			}
			i.wait(path, 0)
		}
	}
}

// A stream that was given up while it flushed ends, though Flush says nothing.
func TestFailedFlushEndsStream(t *testing.T) {
	for path, want := range map[string]bool{watchPath: true, acquirePath: false} {
		ended := false
		soon.middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			ended = r.Context().Err() != nil
		})).ServeHTTP(brokenFlush{httptest.NewRecorder()},
			httptest.NewRequest(http.MethodPost, path, nil))
		if ended != want {
			t.Errorf("%s: ended %v after a flush that failed", path, ended)
		}
	}
}

type brokenFlush struct{ http.ResponseWriter }

func (brokenFlush) FlushError() error { return errors.New("the reader has gone") }

// deadlines is a connection that remembers the deadlines it was given.
type deadlines struct {
	*httptest.ResponseRecorder
	reads, writes []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.reads = append(d.reads, t)
	return nil
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.writes = append(d.writes, t)
	return nil
}

// Every write has a deadline, none of which outlasts a rest, or holds for the
// connection's next request.
func TestDeadlinesAreLifted(t *testing.T) {
	for _, c := range []struct {
		path          string
		reads, writes string // s: set, l: lifted
	}{
		{watchPath, "s", "lslsls"}, // of the request before; write, flush, what is left
		{healthWatchProcedure, "s", "lslsls"},
		{acquirePath, "s", "lsss"},
		{cirrusv1connect.AdminServiceListLeasesProcedure, "s", "lsss"},
		{"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "", "lslsls"},
		{"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "", "lslsls"},
	} {
		d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			must(io.ReadAll(r.Body))
			must(w.Write([]byte("event")))
			w.(http.Flusher).Flush()
		})).ServeHTTP(d, httptest.NewRequest(http.MethodPost, c.path, strings.NewReader("{}")))
		if reads, writes := kinds(d.reads), kinds(d.writes); reads != c.reads ||
			writes != c.writes {
			t.Errorf("%s: read deadlines %s, write deadlines %s, want %s and %s", c.path, reads,
				writes, c.reads, c.writes)
		}
	}
}

func kinds(set []time.Time) string {
	s := ""
	for _, at := range set {
		if at.IsZero() {
			s += "l"
		} else {
			s += "s"
		}
	}
	return s
}
