package client

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/jonboulle/clockwork"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/reach"
	"github.com/cirrus-id/cirrus/internal/steady"
	"github.com/cirrus-id/cirrus/snowflake"
)

// Option changes how Hold holds a lease. Hold checks the values of all options
// and returns an error if one is out of bounds.
type Option func(*config)

// config is the target and all options of one Hold.
type config struct {
	urls     []*url.URL
	rules    fencing.HolderConfig
	maxLead  time.Duration
	noLast   bool        // Release doesn't tell the last timestamp
	onChange func(Event) // nil: changes are not reported

	http       HTTPOptions
	httpClient connect.HTTPClient // nil: made from http
	lookup     reach.Lookup       // nil: the system's resolver
	grpc       bool
	header     http.Header

	log    *slog.Logger
	timers clockwork.Clock
	steady snowflake.Clock
	random func() uint64
	runner Runner
}

// WithPool names the pool: 1 to 63 of a–z, 0–9 and "-". Default: "default".
func WithPool(name fencing.PoolName) Option {
	return func(c *config) { c.rules.Pool = name }
}

// WithTTL asks for leases with a TTL of d: 1 s to the pool's max_ttl. 0, the
// default: the pool's TTL.
func WithTTL(d time.Duration) Option { return func(c *config) { c.rules.TTL = d } }

// WithWait lets the service queue a request for up to d, 0 to 60 s, if no node
// ID is free: first come, first served. Default: 0. In either case a holder asks
// again as long as the service says that a node ID can become free.
func WithWait(d time.Duration) Option { return func(c *config) { c.rules.Wait = d } }

// WithMaxLead lets bursts of IDs run up to d, in whole milliseconds, ahead of
// the generator's time (G3). 0, the default: 1 s; snowflake.NoLead: not at all.
// No upper bound but the lease's ceiling.
func WithMaxLead(d time.Duration) Option { return func(c *config) { c.maxLead = d } }

// WithoutReacquire ends the holder when its lease is lost. Default: it acquires a
// new one (C5).
func WithoutReacquire() Option { return func(c *config) { c.rules.NoReacquire = true } }

// WithoutLastTimestamp is for a holder whose IDs are not minted by its
// Generator. Release can't know the last timestamp then and doesn't tell it, so
// the service waits until the lease's whole window has passed before it grants
// the node ID again (S4). Default: Release tells the generator's last timestamp.
func WithoutLastTimestamp() Option { return func(c *config) { c.noLast = true } }

// OnChange calls f on every change of the lease, one at a time and in order, in
// a goroutine of its own: a slow f delays further calls of f, but no heartbeat.
// Up to 1024 changes wait for a slow f; beyond that the oldest are dropped, and a
// log line says so. f may call the holder's methods.
func OnChange(f func(Event)) Option { return func(c *config) { c.onChange = f } }

// WithTLS sets the TLS configuration for an https:// URL. Default: the system's
// roots. Not together with WithHTTPClient.
func WithTLS(t *tls.Config) Option { return func(c *config) { c.http.TLS = t } }

// WithHTTP2 allows only HTTP/2, without TLS (h2c) if the URL is http://. Default:
// HTTP/1.1 for http://, and what the TLS handshake chooses for https://. Not
// together with WithHTTPClient.
func WithHTTP2() Option { return func(c *config) { c.http.HTTP2 = true } }

// WithHTTPClient sets the HTTP client; see NewHTTPClient. It must have no timeout
// shorter than the wait of WithWait plus 5 s. The holder does not close it. The
// client looks up host names itself, so each URL counts as one address.
func WithHTTPClient(h connect.HTTPClient) Option {
	return func(c *config) { c.httpClient = h }
}

// WithGRPC uses the gRPC protocol, over HTTP/2. Default: the Connect protocol,
// which any HTTP proxy can carry.
func WithGRPC() Option {
	return func(c *config) { c.grpc, c.http.HTTP2 = true, true }
}

// WithHeader adds a header to every request, for example Authorization.
func WithHeader(key, value string) Option {
	return func(c *config) { c.header.Add(key, value) }
}

// WithLogger logs every change, and calls that fail, in a goroutine of its own: a
// handler that is slow, or blocks, delays no heartbeat. Up to 1024 lines wait for
// it; later ones are dropped, and a line says how many. Release waits up to 1 s
// for the handler, and not after its context ends. Default: no log.
func WithLogger(l *slog.Logger) Option { return func(c *config) { c.log = l } }

// WithClock sets the clock that timers run on. Timers only decide when the steady
// clock is read; nothing is measured with them. Default: the real clock.
func WithClock(timers clockwork.Clock) Option {
	return func(c *config) { c.timers = timers }
}

// WithSteadyClock sets the clock that measures all durations, the generator's
// included. It must count the time during which the machine is suspended, and be
// safe for use by many goroutines. Default: a clock that counts it on Linux and
// macOS.
func WithSteadyClock(s snowflake.Clock) Option {
	return func(c *config) { c.steady = s }
}

// WithRandom sets the source of randomness; only the holder's loop calls it.
// Instance IDs are made from it, and they are secrets: in production the source
// must be cryptographically secure. Default: crypto/rand.
func WithRandom(random func() uint64) Option {
	return func(c *config) { c.random = random }
}

// WithRunner sets how the holder waits and runs functions concurrently; for
// simulators. Default: goroutines.
func WithRunner(r Runner) Option { return func(c *config) { c.runner = r } }

// newConfig applies the options and validates the result.
func newConfig(target, app string, opts []Option) (*config, error) {
	c := &config{
		rules:  fencing.HolderConfig{App: fencing.AppID(app)},
		header: make(http.Header),
		log:    slog.New(slog.DiscardHandler),
		timers: clockwork.NewRealClock(),
		random: cryptoRandom,
		runner: goroutines{},
	}
	for _, opt := range opts {
		opt(c)
	}
	if c.steady == nil {
		c.steady = steady.New()
	}
	if c.rules.Pool == "" {
		c.rules.Pool = fencing.DefaultPool
	}
	var err error
	if c.urls, err = reach.Parse(target); err != nil {
		return nil, err
	}
	return c, c.validate()
}

func (c *config) validate() error {
	switch {
	case c.log == nil || c.timers == nil || c.random == nil || c.runner == nil:
		return errors.New("an option got nil: leave the option out to get its default")
	case c.httpClient != nil && c.http.TLS != nil:
		return errors.New(
			"WithHTTPClient and WithTLS were both given: set TLS up in the HTTP client, or leave it out")
	case c.httpClient != nil && c.http.HTTP2 && !c.grpc:
		return errors.New(
			"WithHTTPClient and WithHTTP2 were both given: set HTTP/2 up in the HTTP client, or leave it out")
	case c.http.TLS != nil && c.urls[0].Scheme != "https":
		return fmt.Errorf(
			"WithTLS was given for %s, which is not an https:// URL: write https://, or leave TLS out", c.urls[0].Redacted())
	}
	return c.rules.Validate()
}

// target returns the URLs that Hold was given, without passwords.
func (c *config) target() string {
	texts := make([]string, len(c.urls))
	for i, u := range c.urls {
		texts[i] = u.Redacted()
	}
	return strings.Join(texts, ",")
}

// cryptoRandom returns 64 random bits. It never fails: rand.Read ends the process
// if the system has no randomness.
func cryptoRandom() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
