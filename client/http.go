package client

import (
	"crypto/tls"
	"net/http"

	"github.com/cirrus-id/cirrus/internal/reach"
)

// HTTPOptions say how to reach the service. The zero value is valid: it holds the
// defaults.
type HTTPOptions struct {
	// TLS is used for https:// URLs. nil: the system's roots, no client
	// certificate.
	TLS *tls.Config
	// HTTP2 allows only HTTP/2: without TLS (h2c) for http:// URLs, where gRPC
	// needs it. false: HTTP/1.1 for http:// URLs, and the version that the TLS
	// handshake (ALPN) chooses for https:// URLs.
	HTTP2 bool
}

// NewHTTPClient returns an HTTP client like the one that Hold makes by default:
// it reuses connections, detects dead ones, and takes HTTP proxies from the
// environment. It sets no timeout: pass contexts.
func NewHTTPClient(o HTTPOptions) *http.Client {
	return reach.NewClient(reach.NewTransport(o.TLS, o.HTTP2))
}
