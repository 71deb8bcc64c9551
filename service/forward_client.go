package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cirrus-id/cirrus/internal/reach"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// Timeouts of the connections to another replica: one that is silently gone must not
// hold up requests that its successor would answer.
const (
	peerDialTime = time.Second
	// peerQuickTime is how long the answer to a call may take that waits for the
	// store at most: storeTimeout, and what one write takes after that.
	peerQuickTime = 2*storeTimeout + time.Second
	peerSilence   = 2 * time.Second // after so long without a frame: ping
	peerPingTime  = time.Second
	peerIdleTime  = 90 * time.Second
	// peerIdleConns is how many idle connections are kept for further calls.
	peerIdleConns = 128
	// peerPlainTime is how long HTTP/2 is not tried again with a replica that answered
	// in HTTP/1.1 after HTTP/2 had failed.
	peerPlainTime = time.Minute
)

// peerClient is the HTTP client by which one replica reaches another.
type peerClient struct {
	// quick carries calls that are answered soon, most of all heartbeats, at the
	// least cost to the leader: HTTP/1.1 costs it half of what HTTP/2 does.
	quick *http.Client
	// long carries calls that may wait long for their answer, and streams: all on
	// one HTTP/2 connection, which is pinged.
	long *http.Client
	// plain carries the same where only HTTP/1.1 is understood, as by some proxies: a
	// connection for each call, and no pings.
	plain  *http.Client
	steady Steady
	// two: the replica has answered in HTTP/2.
	two atomic.Bool
	// plainUntil is until when, by the steady clock, plain is used unless two. It
	// passes, since only one connection may have failed.
	plainUntil atomic.Int64
}

func newPeerClient(steady Steady) *peerClient {
	var one, two http.Protocols // HTTP/1.1 alone, HTTP/2 alone
	one.SetHTTP1(true)
	two.SetHTTP2(true)
	two.SetUnencryptedHTTP2(true)
	dialer := net.Dialer{Timeout: peerDialTime, KeepAlive: peerSilence}
	return &peerClient{
		steady: steady,
		plain: reach.NewClient(&http.Transport{
			DialContext:         dialer.DialContext,
			TLSHandshakeTimeout: peerDialTime,
			MaxIdleConnsPerHost: peerIdleConns,
			IdleConnTimeout:     peerIdleTime,
			DisableCompression:  true,
			Protocols:           &one,
		}),
		quick: reach.NewClient(&http.Transport{
			DialContext:           dialer.DialContext,
			TLSHandshakeTimeout:   peerDialTime,
			ResponseHeaderTimeout: peerQuickTime,
			MaxIdleConnsPerHost:   peerIdleConns,
			IdleConnTimeout:       peerIdleTime,
			DisableCompression:    true,
			Protocols:             &one,
		}),
		long: reach.NewClient(&http.Transport{
			DialContext:         dialer.DialContext,
			TLSHandshakeTimeout: peerDialTime,
			IdleConnTimeout:     peerIdleTime,
			DisableCompression:  true,
			Protocols:           &two,
			HTTP2: &http.HTTP2Config{
				SendPingTimeout:  peerSilence,
				PingTimeout:      peerPingTime,
				WriteByteTimeout: peerPingTime,
			},
		}),
	}
}

// Do implements connect.HTTPClient.
func (c *peerClient) Do(r *http.Request) (*http.Response, error) {
	switch r.URL.Path {
	case cirrusv1connect.LeaseServiceAcquireProcedure, cirrusv1connect.AdminServiceWatchProcedure:
		return c.sendLong(r)
	}
	resp, err := c.quick.Do(r)
	if errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil && !failedToDial(err) {
		return nil, errNoAnswer // net/http's own error would pass for the caller's deadline
	}
	return resp, err
}

// errNoAnswer is the error of a call that took longer than peerQuickTime. The leader
// is gone or its store is slow: a probe finds out which.
var errNoAnswer = fmt.Errorf("no answer within %v", peerQuickTime)

// failedToDial reports whether a call failed before anything was sent.
func failedToDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// sendLong sends a request that may wait long for its answer: in HTTP/2, unless that
// failed recently and HTTP/1.1 did not. If it fails before the other replica has
// ever answered in HTTP/2, it is sent once more in HTTP/1.1: such requests may be
// repeated.
func (c *peerClient) sendLong(r *http.Request) (*http.Response, error) {
	two := c.two.Load()
	if !two && int64(c.steady.Now()) < c.plainUntil.Load() {
		return c.plain.Do(r)
	}
	resp, err := c.long.Do(r)
	if err == nil {
		c.two.Store(true)
		return resp, nil
	}
	if two || r.Context().Err() != nil || r.GetBody == nil || failedToDial(err) {
		return nil, err
	}
	again := r.Clone(r.Context())
	if again.Body, err = r.GetBody(); err != nil {
		return nil, err
	}
	if resp, err = c.plain.Do(again); err == nil {
		c.plainUntil.Store(int64(c.steady.Now() + peerPlainTime))
	}
	return resp, err
}

// CloseIdleConnections closes the connections that carry no call.
func (c *peerClient) CloseIdleConnections() {
	c.quick.CloseIdleConnections()
	c.long.CloseIdleConnections()
	c.plain.CloseIdleConnections()
}
