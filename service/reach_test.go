package service

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// answering answers every Acquire and Watch.
type answering struct {
	cirrusv1connect.UnimplementedLeaseServiceHandler
	cirrusv1connect.UnimplementedAdminServiceHandler
}

func (answering) Acquire(context.Context, *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse, error) {
	return &cirrusv1.AcquireResponse{}, nil
}

func (answering) Watch(_ context.Context, _ *cirrusv1.WatchRequest, to *connect.ServerStream[cirrusv1.WatchResponse]) error {
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
		c := newPeerClient()
		if tls {
			srv.StartTLS()
			for _, client := range []*http.Client{c.patient, c.plain, c.quick} {
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
		c := newPeerClient()
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
