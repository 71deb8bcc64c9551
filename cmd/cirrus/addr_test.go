package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/internal/reach"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// endingAdmin streams what is present, and ends the stream when it is told to.
type endingAdmin struct {
	cirrusv1connect.UnimplementedAdminServiceHandler
	node uint32
	err  error
	end  chan struct{}
}

func (a *endingAdmin) Watch(ctx context.Context, _ *cirrusv1.WatchRequest, stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
	if err := stream.Send(&cirrusv1.WatchResponse{
		Event: cirrusv1.Event_EVENT_PRESENT, Lease: &cirrusv1.LeaseStatus{NodeId: a.node, AppId: "app"},
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

// serveAdmin serves it as the service does, HTTP/2 without TLS and all.
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

// output is what a command that still runs has printed.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// TestWatchGoesOn: whichever replica it begins at and however that one's stream
// ends, it goes on at the other, and says so.
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
		var stdout, stderr output
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
		if said := stderr.String(); !strings.HasPrefix(said, "cirrus: the watch at "+url+" ended: ") || strings.Count(said, "\n") != 1 {
			t.Errorf("said %q", said)
		}
		stop()
		if err := <-done; err != nil {
			t.Errorf("interrupted, it ended with %v", err)
		}
	}
}

// TestWatchOfOneEnds: with nowhere to go on to, it ends as its stream does.
func TestWatchOfOneEnds(t *testing.T) {
	a := &endingAdmin{end: make(chan struct{})}
	close(a.end)
	var stdout, stderr strings.Builder
	if code := run([]string{"watch", "--addr", serveAdmin(t, a)}, strings.NewReader(""), &stdout, &stderr); code != exitFailed ||
		!strings.Contains(stderr.String(), "watch again") || !strings.Contains(stdout.String(), "present") {
		t.Errorf("exit code %d, %q, %q", code, stdout.String(), stderr.String())
	}
}

// TestWatchHearsNo: what a working service refuses is not asked of another.
func TestWatchHearsNo(t *testing.T) {
	urls := serveAdmin(t, noAdmin{}) + "," + serveAdmin(t, noAdmin{})
	var stdout, stderr strings.Builder
	if code := run([]string{"watch", "--addr", urls}, strings.NewReader(""), &stdout, &stderr); code != exitFailed ||
		stderr.String() != "cirrus: no such pool (not_found)\n" {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}

type noAdmin struct {
	cirrusv1connect.UnimplementedAdminServiceHandler
}

func (noAdmin) Watch(context.Context, *cirrusv1.WatchRequest, *connect.ServerStream[cirrusv1.WatchResponse]) error {
	return connect.NewError(connect.CodeNotFound, errors.New("no such pool"))
}

// silentURL takes connections and never answers.
func silentURL(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return "http://" + l.Addr().String()
}

// TestWatchLeavesSilence: a stream whose beginning doesn't come is given up.
func TestWatchLeavesSilence(t *testing.T) {
	addrs := reach.New(mustParse(t, silentURL(t)), reach.Config{HTTP2: true})
	defer addrs.Close()
	cmd := newWatch()
	cmd.SetContext(t.Context())
	w := watching{cmd: cmd, admin: &adminService{addrs, cirrusv1connect.NewAdminServiceClient}}
	came, err := w.follow(addrs.Use(), 100*time.Millisecond)
	if came || err == nil || !strings.Contains(err.Error(), "no answer in 100ms") || !reach.Elsewhere(err) {
		t.Errorf("came: %t, %v", came, err)
	}
}

func mustParse(t *testing.T, targets ...string) []*url.URL {
	urls, err := reach.Parse(strings.Join(targets, ","))
	if err != nil {
		t.Fatal(err)
	}
	return urls
}

// fullLeases grants to those who queue, and to nobody else.
type fullLeases struct {
	cirrusv1connect.UnimplementedLeaseServiceHandler
	mu    sync.Mutex
	waits []time.Duration
}

func (f *fullLeases) Acquire(_ context.Context, req *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waits = append(f.waits, req.GetWait().AsDuration())
	if req.GetWait() == nil {
		return nil, connect.NewError(connect.CodeResourceExhausted, errors.New("full"))
	}
	return &cirrusv1.AcquireResponse{Lease: &cirrusv1.Lease{InstanceId: req.InstanceId}}, nil
}

// TestSilenceHasItsShare: of the time for a call, each address gets its share,
// and nobody queues where there is silence.
func TestSilenceHasItsShare(t *testing.T) {
	t.Parallel()
	service := &fullLeases{}
	_, handler := cirrusv1connect.NewLeaseServiceHandler(service)
	server := httptest.NewServer(handler)
	defer server.Close()
	urls := mustParse(t, silentURL(t), server.URL, silentURL(t))
	for seed := range uint64(6) {
		addrs := reach.New(urls, reach.Config{Random: func() uint64 { return seed }})
		defer addrs.Close()
		service.waits = nil
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		resp, err := acquireAt(ctx, &leaseService{addrs, cirrusv1connect.NewLeaseServiceClient},
			&cirrusv1.AcquireRequest{AppId: "app", InstanceId: "0123456789abcdef", Wait: durationpb.New(time.Minute)})
		if err != nil || resp.GetLease().GetInstanceId() == "" {
			t.Errorf("seed %d: %v, %v", seed, resp, err)
		}
		if len(service.waits) != 2 || service.waits[1] != time.Minute {
			t.Errorf("seed %d: asked with waits of %v", seed, service.waits)
		}
	}
}

// forgetfulLeases grants, and loses its first answer.
type forgetfulLeases struct {
	cirrusv1connect.UnimplementedLeaseServiceHandler
	mu        sync.Mutex
	instances []string
}

func (f *forgetfulLeases) Acquire(_ context.Context, req *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.instances = append(f.instances, req.InstanceId); len(f.instances) == 1 {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("granted, perhaps"))
	}
	return &cirrusv1.AcquireResponse{Lease: &cirrusv1.Lease{
		InstanceId: req.InstanceId, Epoch: 1,
		Layout: &cirrusv1.Layout{TimestampBits: 41, NodeBits: 10, SequenceBits: 12},
	}}, nil
}

// TestAcquireTwiceIsOneLease: the second request, at another address, is the
// first one's again, though the user gave no instance ID.
func TestAcquireTwiceIsOneLease(t *testing.T) {
	service := &forgetfulLeases{}
	_, handler := cirrusv1connect.NewLeaseServiceHandler(service)
	one, two := httptest.NewServer(handler), httptest.NewServer(handler)
	defer one.Close()
	defer two.Close()
	var stdout, stderr strings.Builder
	if code := run([]string{"acquire", "--app", "a", "--addr", one.URL + "," + two.URL}, strings.NewReader(""), &stdout, &stderr); code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	if i := service.instances; len(i) != 2 || len(i[0]) != 32 || i[0] != i[1] {
		t.Errorf("asked as %q", i)
	}
}

// TestInterruptedInBetween: who is interrupted hears no list of failures.
func TestInterruptedInBetween(t *testing.T) {
	addrs := reach.New(mustParse(t, silentURL(t), silentURL(t)), reach.Config{Random: func() uint64 { return 1 }})
	defer addrs.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err := askAll(ctx, &leaseService{addrs, cirrusv1connect.NewLeaseServiceClient},
		cirrusv1connect.LeaseServiceClient.Acquire, &cirrusv1.AcquireRequest{})
	if err = explain(err); err == nil || !strings.HasPrefix(err.Error(), "interrupted") {
		t.Errorf("error %v", err)
	}
}

// eventually waits for a condition, with a bound.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

// TestWithScheme: what is left out of an address is http:// and, without it, the
// port.
func TestWithScheme(t *testing.T) {
	for addr, want := range map[string]string{
		"a":                "http://a:50051",
		"a:1":              "http://a:1",
		"a/base":           "http://a:50051/base",
		"a:1/base/x":       "http://a:1/base/x",
		"127.0.0.2":        "http://127.0.0.2:50051",
		"::1":              "http://[::1]:50051",
		"[::1]":            "http://[::1]:50051",
		"[::1]:7":          "http://[::1]:7",
		"http://a":         "http://a", // port 80, as any URL
		"https://a":        "https://a",
		"https://a:1/base": "https://a:1/base",
	} {
		if got := withScheme(addr); got != want {
			t.Errorf("withScheme(%q) = %q, want %q", addr, got, want)
		}
	}
}
