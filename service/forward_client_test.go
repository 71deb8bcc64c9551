package service

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/jonboulle/clockwork"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/store"
)

// answering answers every Acquire and Watch.
type answering struct {
	cirrusv1connect.UnimplementedLeaseServiceHandler
	cirrusv1connect.UnimplementedAdminServiceHandler
}

func (answering) Acquire(context.Context, *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse,
	error) {
	return &cirrusv1.AcquireResponse{}, nil
}

func (answering) Watch(_ context.Context, _ *cirrusv1.WatchRequest,
	to *connect.ServerStream[cirrusv1.WatchResponse]) error {
	return to.Send(&cirrusv1.WatchResponse{})
}

// TestPeerSpeaksHTTP1: behind a proxy that understands nothing else, requests
// that wait and streams reach the leader, too.
func TestPeerSpeaksHTTP1(t *testing.T) {
	for _, tls := range []bool{false, true} {
		mux := http.NewServeMux()
		mux.Handle(cirrusv1connect.NewLeaseServiceHandler(answering{}))
		mux.Handle(cirrusv1connect.NewAdminServiceHandler(answering{}))
		srv := httptest.NewUnstartedServer(mux) // HTTP/1.1 alone
		c := newPeerClient(steadyClock{time.Now()})
		if tls {
			srv.StartTLS()
			for _, client := range []*http.Client{c.long, c.plain, c.quick} {
				client.Transport.(*http.Transport).TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			}
		} else {
			srv.Start()
		}
		for range 2 {
			if _, err := cirrusv1connect.NewLeaseServiceClient(c, srv.URL).Acquire(context.Background(), &cirrusv1.AcquireRequest{}); err != nil {
				t.Errorf("Acquire, TLS %v: %v", tls, err)
			}
			stream, err := cirrusv1connect.NewAdminServiceClient(c, srv.URL).Watch(context.Background(), &cirrusv1.WatchRequest{})
			if err != nil {
				t.Errorf("Watch, TLS %v: %v", tls, err)
				continue
			}
			if !stream.Receive() {
				t.Errorf("Watch, TLS %v: %v", tls, stream.Err())
			}
			_ = stream.Close()
		}
		c.CloseIdleConnections()
		srv.Close()
	}
}

// breaking is a listener whose first connection breaks.
type breaking struct {
	net.Listener
	broken atomic.Bool
}

func (l *breaking) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil && !l.broken.Swap(true) {
		_ = c.Close()
	}
	return c, err
}

// TestPeerTriesHTTP2Again: one broken connection does not keep a replica from
// asking the leader in HTTP/2 for ever.
func TestPeerTriesHTTP2Again(t *testing.T) {
	versions := make(chan int, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { versions <- r.ProtoMajor }))
	srv.Config.Protocols = &http.Protocols{}
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Listener = &breaking{Listener: srv.Listener}
	srv.Start()
	defer srv.Close()
	clock := clockwork.NewFakeClockAt(theDay)
	c := newPeerClient(fakeSteady{clock, theDay})
	defer c.CloseIdleConnections()
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {peerPlainTime - 1, 1}, {1, 2}, {0, 2}} {
		clock.Advance(step.after)
		req, err := http.NewRequest(http.MethodPost, srv.URL+cirrusv1connect.LeaseServiceAcquireProcedure, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := <-versions; got != step.want {
			t.Errorf("after %v it was asked in HTTP/%d, want HTTP/%d", clock.Since(theDay), got, step.want)
		}
	}
}

// TestLeftPeerHangsUp: a replica keeps no connection to one that has led before.
func TestLeftPeerHangsUp(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle(cirrusv1connect.NewLeaseServiceHandler(answering{}))
	mux.Handle(cirrusv1connect.NewAdminServiceHandler(answering{}))
	srv := httptest.NewUnstartedServer(mux)
	srv.Config.Protocols = &http.Protocols{}
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	var open sync.WaitGroup
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Done()
		}
	}
	srv.Start()
	defer srv.Close()
	c := newTestCluster(newTestStore(newBatch(t, theDay, true, nil)))
	s, err := New(context.Background(), Config{Cluster: c.join(store.Member{ID: "b", Address: "http://b"}), Steady: steadyClock{time.Now()}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := newPeer(s.base, store.Member{ID: "a", Address: srv.URL}, s.wakeWaiting)
	ctx := context.Background()
	if _, err := p.Acquire(ctx, &cirrusv1.AcquireRequest{}); err != nil { // in HTTP/2
		t.Error(err)
	}
	if _, err := p.Release(ctx, &cirrusv1.ReleaseRequest{}); connect.CodeOf(err) != connect.CodeUnimplemented { // in HTTP/1.1
		t.Error(err)
	}
	p.close()
	open.Wait()
}

// TestPeerGetsNoAnswer: a call that the transport gives up does not look like one
// whose caller's deadline has passed.
func TestPeerGetsNoAnswer(t *testing.T) {
	l := silent(t)
	c := newPeerClient(steadyClock{time.Now()})
	defer c.CloseIdleConnections()
	c.quick.Transport.(*http.Transport).ResponseHeaderTimeout = time.Millisecond
	_, err := cirrusv1connect.NewLeaseServiceClient(c, "http://"+l.Addr().String()).HeartbeatBatch(context.Background(), &cirrusv1.HeartbeatBatchRequest{})
	if !errors.Is(err, errNoAnswer) || connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("got %v, want %v", err, errNoAnswer)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	_, err = cirrusv1connect.NewLeaseServiceClient(c, "http://"+l.Addr().String()).HeartbeatBatch(ctx, &cirrusv1.HeartbeatBatchRequest{})
	if connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("got %v, want that the deadline is exceeded", err)
	}
}

// TestPeerFollowsNoRedirect: what is passed on holds instance IDs, which are
// secrets, so nobody may send it elsewhere: in no version of HTTP, whatever is
// asked (C5).
func TestPeerFollowsNoRedirect(t *testing.T) {
	var followed atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	defer elsewhere.Close()
	for _, http2 := range []bool{false, true} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
		}))
		srv.Config.Protocols = &http.Protocols{}
		srv.Config.Protocols.SetHTTP1(true)
		srv.Config.Protocols.SetUnencryptedHTTP2(http2)
		srv.Start()
		c := newPeerClient(steadyClock{time.Now()})
		leases := cirrusv1connect.NewLeaseServiceClient(c, srv.URL)
		if _, err := leases.Acquire(context.Background(), &cirrusv1.AcquireRequest{}); err == nil {
			t.Errorf("Acquire, HTTP/2 %v: a redirect was an answer", http2)
		}
		if _, err := leases.HeartbeatBatch(context.Background(), &cirrusv1.HeartbeatBatchRequest{}); err == nil {
			t.Errorf("HeartbeatBatch, HTTP/2 %v: a redirect was an answer", http2)
		}
		c.CloseIdleConnections()
		srv.Close()
	}
	if n := followed.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}
