package service

import (
	"net"
	"net/http"
	"time"
)

// How the way to another replica is watched: one that has silently gone must
// not hold up what another would answer.
const (
	peerDialTime = time.Second
	peerSilence  = 2 * time.Second // nothing heard for so long: ping
	peerPingTime = time.Second
	peerIdleTime = 90 * time.Second
)

// newPeerClient returns the HTTP client by which replicas reach one another:
// HTTP/2, so that one connection is watched for all calls and streams.
func newPeerClient() *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	dialer := net.Dialer{Timeout: peerDialTime, KeepAlive: peerSilence}
	return &http.Client{Transport: &http.Transport{
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: peerDialTime,
		IdleConnTimeout:     peerIdleTime,
		DisableCompression:  true,
		Protocols:           &protocols,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  peerSilence,
			PingTimeout:      peerPingTime,
			WriteByteTimeout: peerPingTime,
		},
	}}
}
