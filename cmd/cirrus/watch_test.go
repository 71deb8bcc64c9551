package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/dial"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/internal/reach"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// endingAdmin streams one lease, and ends the stream when the channel end is closed.
type endingAdmin struct {
	cirrusv1connect.UnimplementedAdminServiceHandler
	node uint32
	err  error
	end  chan struct{}
}

func (a *endingAdmin) Watch(ctx context.Context, _ *cirrusv1.WatchRequest,
	stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
	if err := stream.Send(&cirrusv1.WatchResponse{
		Event: cirrusv1.Event_EVENT_PRESENT,
		Lease: &cirrusv1.LeaseStatus{NodeId: a.node, AppId: "app"},
	}); err != nil {
		return err
	}
	select {
	case <-a.end:
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serveAdmin serves a handler as the service does, with HTTP/2 without TLS.
func serveAdmin(t *testing.T, a cirrusv1connect.AdminServiceHandler) string {
	_, handler := cirrusv1connect.NewAdminServiceHandler(a)
	server := httptest.NewUnstartedServer(handler)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server.Config.Protocols = &protocols
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// printed is what a running command has printed.
type printed struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *printed) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *printed) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// TestWatchGoesOn checks that a watch goes on at the other replica, and says so,
// whichever replica it begins at and however that one's stream ends.
func TestWatchGoesOn(t *testing.T) {
	for _, ended := range []error{
		nil,
		connect.NewError(connect.CodeUnavailable, errors.New("shutting down")),
		connect.NewError(connect.CodeResourceExhausted, errors.New("too far behind")),
	} {
		one := &endingAdmin{node: 1, err: ended, end: make(chan struct{})}
		two := &endingAdmin{node: 2, err: ended, end: make(chan struct{})}
		urls := []string{serveAdmin(t, one), serveAdmin(t, two)}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var stdout, stderr printed
		root := newRoot()
		root.SetArgs([]string{"watch", "--addr", strings.Join(urls, ",")})
		root.SetOut(&stdout)
		root.SetErr(&stderr)
		done := make(chan error, 1)
		go func() { done <- root.ExecuteContext(ctx) }()
		eventually(t, func() bool { return strings.Contains(stdout.String(), " app\n") })
		first, second, url := one, " 2 ", urls[0]
		if strings.Contains(stdout.String(), " 2 ") {
			first, second, url = two, " 1 ", urls[1]
		}
		close(first.end)
		eventually(t, func() bool { return strings.Contains(stdout.String(), second) })
		if said := stderr.String(); !strings.HasPrefix(said,
			"cirrus: the watch at "+url+" ended: ") ||
			strings.Count(said, "\n") != 1 {
			t.Errorf("stderr is %q, want one line that says that the watch at %s ended", said, url)
		}
		stop()
		if err := <-done; err != nil {
			t.Errorf("interrupted, the watch ended with %v, want no error", err)
		}
	}
}

// TestWatchOfOneEnds checks that a watch with one address ends when its stream does.
func TestWatchOfOneEnds(t *testing.T) {
	a := &endingAdmin{end: make(chan struct{})}
	close(a.end)
	var stdout, stderr strings.Builder
	if code := run([]string{"watch", "--addr", serveAdmin(t, a)}, strings.NewReader(""), &stdout,
		&stderr); code != exit.Failed ||
		!strings.Contains(stderr.String(), "watch again") ||
		!strings.Contains(stdout.String(), "present") {
		t.Errorf("exit code %d, stdout %q, stderr %q; want a failure that says to watch again",
			code,
			stdout.String(), stderr.String())
	}
}

// TestWatchIsRefused checks that a watch that one replica refuses is not tried at
// another.
func TestWatchIsRefused(t *testing.T) {
	urls := serveAdmin(t, noAdmin{}) + "," + serveAdmin(t, noAdmin{})
	var stdout, stderr strings.Builder
	if code := run([]string{"watch", "--addr", urls}, strings.NewReader(""), &stdout,
		&stderr); code != exit.Failed ||
		stderr.String() != "cirrus: no such pool (not_found)\n" {
		t.Errorf("exit code %d, stderr %q; want the refusal of the service", code, stderr.String())
	}
}

type noAdmin struct {
	cirrusv1connect.UnimplementedAdminServiceHandler
}

func (noAdmin) Watch(context.Context, *cirrusv1.WatchRequest,
	*connect.ServerStream[cirrusv1.WatchResponse]) error {
	return connect.NewError(connect.CodeNotFound, errors.New("no such pool"))
}

// TestWatchTimesOut checks that a watch gives up an address that sends nothing.
func TestWatchTimesOut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts; the kernel does
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	urls, err := reach.Parse("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	addrs := reach.New(urls, reach.Config{HTTP2: true})
	defer addrs.Close()
	cmd := newWatch()
	cmd.SetContext(t.Context())
	w := watching{cmd: cmd, admin: &dial.AdminService{Addrs: addrs,
		Client: cirrusv1connect.NewAdminServiceClient}}
	came, err := w.follow(addrs.Use(), 100*time.Millisecond)
	if came || err == nil || !strings.Contains(err.Error(), "no answer in 100ms") ||
		!reach.Elsewhere(err) {
		t.Errorf("a message came: %t, error %v; want no answer in 100ms", came, err)
	}
}

// eventually waits until a condition holds, for 20 s at most.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the condition did not hold within 20 s")
		}
	}
}
