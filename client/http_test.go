package client_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/client"
)

// TestProtocols holds a lease over a real network with each protocol.
func TestProtocols(t *testing.T) {
	for _, tt := range []struct {
		name    string
		tls     bool
		opts    []client.Option
		major   int // of the HTTP version that the server saw
		content string
	}{
		{name: "HTTP/1.1", major: 1, content: "application/proto"},
		{name: "h2c", opts: []client.Option{client.WithHTTP2()}, major: 2, content: "application/proto"},
		{name: "gRPC over h2c", opts: []client.Option{client.WithGRPC()}, major: 2, content: "application/grpc"},
		{name: "TLS", tls: true, major: 2, content: "application/proto"},
		{name: "HTTP/2 over TLS", tls: true, opts: []client.Option{client.WithHTTP2()}, major: 2, content: "application/proto"},
		{name: "gRPC over TLS", tls: true, opts: []client.Option{client.WithGRPC()}, major: 2, content: "application/grpc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var calls atomic.Int32
			service := newFakeService().handler()
			server := httptest.NewUnstartedServer(
				http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					calls.Add(1)
					if r.ProtoMajor != tt.major || r.Header.Get("Content-Type") != tt.content {
						t.Errorf("%s with %s, want HTTP/%d with %s", r.Proto,
							r.Header.Get("Content-Type"), tt.major, tt.content)
					}
					if r.Header.Get("Authorization") != "Bearer token" {
						t.Errorf("Authorization is %q, want %q", r.Header.Get("Authorization"),
							"Bearer token")
					}
					for _, h := range []string{"Accept-Encoding", "Grpc-Accept-Encoding"} {
						if got := r.Header.Get(h); got != "" && got != "identity" {
							t.Errorf("%s is %q, want no compression", h, got)
						}
					}
					service.ServeHTTP(rw, r)
				}))
			closed := make(chan struct{}, 9)
			server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateClosed {
					closed <- struct{}{}
				}
			}
			opts := append(tt.opts, client.WithHeader("Authorization", "Bearer token"))
			var protocols http.Protocols
			protocols.SetHTTP1(true)
			protocols.SetHTTP2(true)
			protocols.SetUnencryptedHTTP2(true)
			server.Config.Protocols = &protocols
			if tt.tls {
				server.EnableHTTP2 = true
				server.StartTLS()
				roots := x509.NewCertPool()
				roots.AddCert(server.Certificate())
				opts = append(opts, client.WithTLS(&tls.Config{RootCAs: roots}))
			} else {
				server.Start()
			}
			defer server.Close()

			h, err := client.Hold(t.Context(), server.URL+"/", "app", opts...)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.Generator().Next(); err != nil {
				t.Error(err)
			}
			if err := h.Release(t.Context()); err != nil {
				t.Error(err)
			}
			select {
			case <-closed: // by the holder, which has ended
			case <-time.After(10 * time.Second):
				t.Error("the connection is still open 10 s after Release")
			}
			if calls.Load() != 2 {
				t.Errorf("%d calls, want 2: an Acquire and a Release", calls.Load())
			}
		})
	}
}

// TestNewHTTPClientWatchesConnections checks that HTTP/2 pings and timeouts are
// set: without pings a call to a dead peer would hang for a quarter of an hour.
func TestNewHTTPClientWatchesConnections(t *testing.T) {
	transport := client.NewHTTPClient(client.HTTPOptions{HTTP2: true}).Transport.(*http.Transport)
	if transport.HTTP2.SendPingTimeout <= 0 || transport.HTTP2.PingTimeout <= 0 ||
		transport.TLSHandshakeTimeout <= 0 {
		t.Errorf("HTTP/2 settings %+v, TLS handshake timeout %v: want all timeouts above 0",
			transport.HTTP2, transport.TLSHandshakeTimeout)
	}
}
