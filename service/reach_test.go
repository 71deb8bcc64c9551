package service

import (
	"context"
	"net/http"
	"net/http/httptest"
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
