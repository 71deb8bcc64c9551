package client

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
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

// How connections are watched, so that a peer that has silently gone is noticed
// after seconds and not after a quarter of an hour.
const (
	dialTimeout     = 5 * time.Second
	keepAlive       = 15 * time.Second
	sendPingTimeout = 10 * time.Second // nothing heard for so long: ping
	pingTimeout     = 5 * time.Second
	idleTimeout     = 90 * time.Second
	maxIdleConns    = 128
)

// NewHTTPClient returns an HTTP client for the service, as Hold makes it for
// itself: connections are kept, dead ones are noticed, and HTTP proxies are
// taken from the environment. It has no timeout of its own: pass contexts.
func NewHTTPClient(o HTTPOptions) *http.Client {
	return &http.Client{Transport: newTransport(o)}
}

func newTransport(o HTTPOptions) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(!o.HTTP2)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(o.HTTP2)
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSClientConfig:     o.TLS.Clone(),
		TLSHandshakeTimeout: dialTimeout,
		MaxIdleConns:        maxIdleConns,
		MaxIdleConnsPerHost: maxIdleConns,
		IdleConnTimeout:     idleTimeout,
		DisableCompression:  true, // small messages: it would only cost
		Protocols:           &protocols,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  sendPingTimeout,
			PingTimeout:      pingTimeout,
			WriteByteTimeout: pingTimeout,
		},
	}
}
