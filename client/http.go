package client

import (
	"crypto/tls"
	"net/http"

	"github.com/cirrus-id/cirrus/internal/reach"
)

// HTTPOptions say how to reach the service. The zero value is a sound choice.
type HTTPOptions struct {
	// TLS is used for https:// URLs. nil: the system's roots, no certificate of
	// our own.
	TLS *tls.Config
	// HTTP2 speaks nothing but HTTP/2, without TLS (h2c) for http:// URLs; gRPC
	// needs it there. false: HTTP/1.1 for http:// URLs, and what is agreed on in
	// the TLS handshake (ALPN) for https:// ones.
	HTTP2 bool
}

// NewHTTPClient returns an HTTP client for the service, as Hold makes it for
// itself: connections are kept, dead ones are noticed, and HTTP proxies are
// taken from the environment. It has no timeout of its own: pass contexts.
func NewHTTPClient(o HTTPOptions) *http.Client {
	return reach.NewClient(reach.NewTransport(o.TLS, o.HTTP2))
}
