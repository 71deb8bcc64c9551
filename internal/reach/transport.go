package reach

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

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

// NewTransport returns a transport for the service. tls may be nil; http2 speaks
// nothing but HTTP/2, without TLS (h2c) for http:// URLs.
func NewTransport(tls *tls.Config, http2 bool) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(http2)
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSClientConfig:     tls.Clone(),
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

// NewClient returns a client that sends by the transport and follows no
// redirect: requests carry instance IDs, which are secrets, and whoever answers
// at the address now must not send them elsewhere (C5). A redirect is an answer
// that is not the service's.
func NewClient(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: stay}
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// pin has the transport dial one IP of a host. The host's name stays what TLS
// checks and what the server is told.
func pin(t *http.Transport, host string, ip netip.Addr) {
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if h, port, err := net.SplitHostPort(address); err == nil && strings.EqualFold(h, host) {
			address = net.JoinHostPort(ip.String(), port)
		}
		return dial(ctx, network, address)
	}
}
