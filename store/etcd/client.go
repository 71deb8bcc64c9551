package etcd

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var _ KV = (*client)(nil)

// client is the KV that production uses. It uses one member of etcd at a time, and
// moves on to the next one when a call times out or the member says that it is
// unavailable. The library would spread calls over all members. A member that
// hangs still accepts connections, so of three members each third call would fail
// until a keepalive is missed, 12 s later.
//
// This file chooses every endpoint and every timeout.
type client struct {
	cfg Config
	// dialing has room for one: whoever makes the connection.
	dialing chan struct{}

	mu      sync.Mutex
	conn    *clientv3.Client // nil before the first connect that succeeded
	closed  bool
	cluster uint64 // etcd's cluster ID; 0 before the first answer
	// turn counts how often the client has moved on. The member in use is
	// Endpoints[turn mod their number]. moved is closed and replaced each time.
	turn  int
	moved chan struct{}
	// unknown are the endpoints that have not said yet which cluster they are of.
	// askTimeout bounds how long they are asked for that at a time.
	unknown    []string
	askTimeout time.Duration
	// split, if not nil, says that two clusters answered before the first call.
	split error
}

// newClient starts with a random member, so that replicas spread over the members.
func newClient(cfg Config) *client {
	c := &client{
		cfg: cfg, dialing: make(chan struct{}, 1), turn: rand.N(len(cfg.Endpoints)),
		moved:      make(chan struct{}),
		askTimeout: min(cfg.Timeout, askTimeoutMax),
	}
	if len(cfg.Endpoints) > 1 {
		c.unknown = cfg.Endpoints
	}
	return c
}

// Timeouts and pauses that follow from no option.
const (
	// askTimeoutMax bounds how long members are asked for their cluster at a time,
	// and askPauseMax the pause before they are asked again.
	askTimeoutMax = time.Second
	askPauseMax   = 30 * time.Second
	// retryPause comes before a request is sent again with another token, or to
	// another member.
	retryPause = 20 * time.Millisecond
)

// renewEvery is the time between two renewals of a session. renewRetry is the
// pause after one that failed.
func renewEvery(ttl time.Duration) time.Duration { return ttl / 3 }
func renewRetry(ttl time.Duration) time.Duration { return min(50*time.Millisecond, ttl/20) }

// renewTimeout bounds one renewal.
func (c *client) renewTimeout() time.Duration { return min(c.cfg.Timeout, c.cfg.SessionTTL/3) }

// rereadEvery is how often the election is read without a change being reported.
func rereadEvery(ttl time.Duration) time.Duration { return max(ttl/3, time.Second/3) }

// firstReadTimeout bounds the first attempt of a read, so that there is time for
// another member.
func (c *client) firstReadTimeout() time.Duration {
	if len(c.cfg.Endpoints) > 1 {
		return c.cfg.Timeout / 2
	}
	return c.cfg.Timeout
}

// backoff spaces attempts out, from 50 ms to a second. A random half of each pause
// keeps replicas that wait for the same etcd from asking all at once.
type backoff struct{ wait time.Duration }

func (b *backoff) reset() { b.wait = 0 }

// pause waits, and reports whether ctx still lasts.
func (b *backoff) pause(ctx context.Context) bool {
	b.wait = min(max(2*b.wait, 50*time.Millisecond), time.Second)
	return pause(ctx, b.wait/2+rand.N(b.wait/2))
}

// pause waits, and reports whether ctx still lasts.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// route is the connection to the member in use.
type route struct {
	*clientv3.Client
	turn int
	// moved is closed when the client moves on. Streams stay with the member that
	// they were opened at, so they must be opened again then.
	moved <-chan struct{}
}

// connect returns the connection, and makes it if there is none yet. With a user,
// making it takes an answer of etcd's, which may not be there yet.
func (c *client) connect(ctx context.Context) (route, error) {
	if r, err := c.connected(); r.Client != nil || err != nil {
		return r, err
	}
	select {
	case c.dialing <- struct{}{}:
		defer func() { <-c.dialing }()
	case <-ctx.Done():
		return route{}, ctx.Err()
	}
	r, err := c.connected()
	if r.Client != nil || err != nil {
		return r, err // another caller has made it meanwhile
	}
	conn, err := c.dial(c.cfg.Endpoints[r.turn%len(c.cfg.Endpoints)])
	if err != nil {
		return r, err
	}
	if err := c.askClusters(ctx, conn); err != nil {
		c.mu.Lock()
		c.split = err
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.split != nil {
		_ = conn.Close() // nobody has used it
		return r, cmp.Or(c.split, errClosed)
	}
	conn.SetEndpoints(c.endpoint()) // the client may have moved on meanwhile
	c.conn = conn
	return c.route(), nil
}

// connected returns the route; its Client is nil if there is no connection yet.
func (c *client) connected() (route, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return route{}, errClosed
	case c.split != nil:
		return route{}, c.split
	}
	return c.route(), nil
}

func (c *client) route() route { return route{c.conn, c.turn, c.moved} }

// endpoint returns the endpoint of the member in use.
func (c *client) endpoint() string { return c.cfg.Endpoints[c.turn%len(c.cfg.Endpoints)] }

// moveOn moves on to the next member, unless another caller has done so since that
// turn.
func (c *client) moveOn(turn int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if turn != c.turn || c.closed || len(c.cfg.Endpoints) == 1 {
		return
	}
	c.turn++
	if c.conn != nil {
		c.conn.SetEndpoints(c.endpoint())
	}
	close(c.moved)
	c.moved = make(chan struct{})
}

func (c *client) dial(endpoint string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:   []string{endpoint},
		TLS:         c.cfg.TLS,
		Username:    c.cfg.User,
		Password:    c.cfg.Password,
		DialTimeout: c.cfg.Timeout,
		// A connection to a member that hangs is closed 12 s after the member's
		// last packet; calls move on before that. A connection whose packets are
		// dropped is closed once something sent has not been acknowledged for
		// 2 s. etcd hangs up on clients that send keepalives more often, or on
		// a connection without a call.
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 2 * time.Second,
		// One attempt. The default is a hundred, and the library makes them not
		// only where the first certainly failed: after a write that the server
		// gave up on, it would send the write again.
		MaxUnaryRetries: 1,
		Logger:          zap.NewNop(), // what matters comes back as an error
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			// The default waits for up to two minutes, long after etcd is back.
			Backoff: grpcbackoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6,
				Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: c.cfg.Timeout,
		})},
	})
}

func (c *client) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	if errors.Is(err, context.Canceled) { // the library returns it for a successful close
		err = nil
	}
	return err
}

// call makes a round trip within the timeout, reports it to Observe, and explains
// its error.
func (c *client) call(ctx context.Context, why Purpose,
	do func(context.Context, *clientv3.Client) error) error {
	start := time.Now()
	err := c.cfg.explain(c.within(ctx, c.cfg.Timeout, do))
	if why == ForOffline {
		err = c.cfg.diagnose(err) // a person waits for it
	}
	c.cfg.Observe(RoundTrip{For: why, Took: time.Since(start), Err: err})
	return err
}

// within calls do with the connection to the member in use, within a time limit,
// and moves on if that member gave no answer.
func (c *client) within(ctx context.Context, limit time.Duration,
	do func(context.Context, *clientv3.Client) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := c.connect(limited)
	if err == nil {
		err = do(limited, r.Client)
	}
	if noAnswer(err) && ctx.Err() == nil {
		c.moveOn(r.turn)
	}
	return err
}

// watch opens a watch on the prefix from a revision on, and moves on if the member
// has not opened it within the timeout. It then cancels ctx.
func (c *client) watch(ctx context.Context, cancel context.CancelFunc, member route, prefix string,
	from int64) (clientv3.WatchChan, error) {
	// Watch returns once the member has opened the watch. A member that hangs
	// never does.
	timer := time.AfterFunc(c.cfg.Timeout, cancel)
	changes := member.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(from))
	if !timer.Stop() {
		c.moveOn(member.turn)
		return nil, errors.New("no watch was opened in time")
	}
	return changes, nil
}

// noAnswer reports whether a member did not answer, or could not do what it was
// asked: another member may.
func noAnswer(err error) bool {
	return err != nil && (unavailable(err) || errors.Is(err, context.DeadlineExceeded) ||
		status.Code(err) == codes.DeadlineExceeded ||
		errors.Is(err, errTwoClusters))
}
