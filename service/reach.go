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

// How the way to another replica is watched: one that has silently gone must
// not hold up what another would answer.
const (
	peerDialTime = time.Second
	// peerQuickTime is how long the answer may take of a call that waits for
	// the store at most: writePatience, and what one write takes after that.
	peerQuickTime = 2*writePatience + time.Second
	peerSilence   = 2 * time.Second // nothing heard for so long: ping
	peerPingTime  = time.Second
	peerIdleTime  = 90 * time.Second
	// peerIdleConns is how many connections wait for the next call.
	peerIdleConns = 128
	// peerPlainTime is how long a replica that answered in HTTP/1.1 after a try
	// in HTTP/2 had failed is not tried in HTTP/2 again.
	peerPlainTime = time.Minute
)

// peerClient is the HTTP client by which one replica reaches another.
type peerClient struct {
	// quick carries calls that are answered soon, heartbeats above all, at the
	// least cost to the leader: HTTP/1.1 costs it half of what HTTP/2 does.
	quick *http.Client
	// patient carries calls that may wait long for their answer, and streams:
	// all on one connection, which is pinged.
	patient *http.Client
	// plain carries the same to where nothing but HTTP/1.1 is understood, such as
	// a proxy: a connection for each, and no pings.
	plain  *http.Client
	steady Steady
	// two: it has answered in HTTP/2.
	two atomic.Bool
	// plainUntil is until when, by the steady clock, plain is used unless two. The
	// failure may have been of one connection, so it does not last.
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
		patient: reach.NewClient(&http.Transport{
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
		return c.long(r)
	}
	resp, err := c.quick.Do(r)
	if errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil && !failedToDial(err) {
		return nil, errNoAnswer // net/http's own error would pass for the caller's deadline
	}
	return resp, err
}

// errNoAnswer is the end of a call that took longer than peerQuickTime. It does
// not tell a leader that is gone from one whose store is slow: a probe does.
var errNoAnswer = fmt.Errorf("no answer within %v", peerQuickTime)

// failedToDial reports whether a call failed before anything was sent.
func failedToDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// long sends what may wait long for its answer, in HTTP/2 unless that has failed
// of late and HTTP/1.1 has not. What failed before the other replica ever
// answered in HTTP/2 is sent once more in HTTP/1.1: whatever is asked this way
// may be asked again.
func (c *peerClient) long(r *http.Request) (*http.Response, error) {
	two := c.two.Load()
	if !two && int64(c.steady.Now()) < c.plainUntil.Load() {
		return c.plain.Do(r)
	}
	resp, err := c.patient.Do(r)
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

// CloseIdleConnections hangs up where nobody talks.
func (c *peerClient) CloseIdleConnections() {
	c.quick.CloseIdleConnections()
	c.patient.CloseIdleConnections()
	c.plain.CloseIdleConnections()
}
