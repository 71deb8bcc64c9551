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

// Timeouts of connections. With them a peer that disappears is noticed after seconds,
// not after a quarter of an hour.
const (
	dialTimeout     = 5 * time.Second
	keepAlive       = 15 * time.Second
	sendPingTimeout = 10 * time.Second // a ping is sent after this time without data
	pingTimeout     = 5 * time.Second
	idleTimeout     = 90 * time.Second
	maxIdleConns    = 128
)

// NewTransport returns a transport for the service. tls may be nil. With http2 the
// transport allows no protocol but HTTP/2, without TLS (h2c) for http:// URLs.
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
		DisableCompression:  true, // messages are too small to gain by it
		Protocols:           &protocols,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  sendPingTimeout,
			PingTimeout:      pingTimeout,
			WriteByteTimeout: pingTimeout,
		},
	}
}

// NewClient returns a client that uses the transport and follows no redirect. Requests
// have instance IDs, which are secrets, so another program that answers at the address
// must not be able to send them to a third one (C5). A redirect counts as an answer that
// is not the service's.
func NewClient(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: refuseRedirect}
}

func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// pin has the transport dial one IP of a host. TLS still checks the host's name, and
// requests still name it.
func pin(t *http.Transport, host string, ip netip.Addr) {
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if h, port, err := net.SplitHostPort(address); err == nil && strings.EqualFold(h, host) {
			address = net.JoinHostPort(ip.String(), port)
		}
		return dial(ctx, network, address)
	}
}
