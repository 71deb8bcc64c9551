package dial

import (
	"context"
	"errors"
	"net"
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

// silentURL returns the URL of a listener that takes connections and never answers.
func silentURL(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return "http://" + l.Addr().String()
}

func mustParse(t *testing.T, targets ...string) []*url.URL {
	urls, err := reach.Parse(strings.Join(targets, ","))
	if err != nil {
		t.Fatal(err)
	}
	return urls
}

// fullLeases grants to requests that queue, and refuses all others.
type fullLeases struct {
	cirrusv1connect.UnimplementedLeaseServiceHandler
	mu    sync.Mutex
	waits []time.Duration
}

func (f *fullLeases) Acquire(_ context.Context,
	req *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waits = append(f.waits, req.GetWait().AsDuration())
	if req.GetWait() == nil {
		return nil, connect.NewError(connect.CodeResourceExhausted, errors.New("full"))
	}
	return &cirrusv1.AcquireResponse{Lease: &cirrusv1.Lease{InstanceId: req.InstanceId}}, nil
}

// TestSilenceHasItsShare checks that each address gets its share of a call's time,
// and that a request queues only at an address that answers.
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
		leases := &LeaseService{Addrs: addrs, Client: cirrusv1connect.NewLeaseServiceClient}
		resp, err := Acquire(ctx, leases, &cirrusv1.AcquireRequest{
			AppId: "app", InstanceId: "0123456789abcdef", Wait: durationpb.New(time.Minute),
		})
		if err != nil || resp.GetLease().GetInstanceId() == "" {
			t.Errorf("seed %d: got %v, error %v; want a lease", seed, resp, err)
		}
		if len(service.waits) != 2 || service.waits[1] != time.Minute {
			t.Errorf("seed %d: the requests that arrived asked to wait %v, want [0s 1m0s]", seed,
				service.waits)
		}
	}
}

// TestInterruptedInBetween checks that an interrupted call does not list which
// addresses failed.
func TestInterruptedInBetween(t *testing.T) {
	addrs := reach.New(mustParse(t, silentURL(t), silentURL(t)),
		reach.Config{Random: func() uint64 { return 1 }})
	defer addrs.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err := askAll(ctx, &LeaseService{Addrs: addrs,
		Client: cirrusv1connect.NewLeaseServiceClient},
		cirrusv1connect.LeaseServiceClient.Acquire, &cirrusv1.AcquireRequest{})
	if err = Explain(err); err == nil || !strings.HasPrefix(err.Error(), "interrupted") {
		t.Errorf("got error %v, want one that begins with interrupted", err)
	}
}

// TestWithScheme checks that http:// may be left out, and with it the port.
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
