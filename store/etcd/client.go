package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var _ KV = (*client)(nil)

// client is the KV of real life. It uses one member of etcd at a time, and goes
// on to the next when a call gets no answer in time, or is told that the member
// is unavailable. The library would spread calls over all members: one that
// stands still takes connections all the same, so that of three members each
// third call would fail until a keepalive is missed, 12 s later.
type client struct {
	cfg Config
	// dialing has room for one: whoever makes the connection.
	dialing chan struct{}

	mu      sync.Mutex
	conn    *clientv3.Client // nil until one could be made
	closed  bool
	cluster uint64 // etcd's cluster ID; 0 before the first answer
	// turn counts how often it went on to another member: by that the one in
	// use is found. moved is closed and replaced when it does.
	turn  int
	moved chan struct{}
	// unknown are the endpoints that have not said yet which cluster they are of.
	// askTime is how long one that is asked is waited for.
	unknown []string
	askTime time.Duration
	// split, if not nil, is that two clusters answered before anything was done.
	split error
}

// newClient begins with any member, so that replicas spread over them.
func newClient(cfg Config) *client {
	c := &client{
		cfg: cfg, dialing: make(chan struct{}, 1), turn: rand.N(len(cfg.Endpoints)), moved: make(chan struct{}),
		askTime: min(cfg.Timeout, askTime),
	}
	if len(cfg.Endpoints) > 1 {
		c.unknown = cfg.Endpoints
	}
	return c
}

// route is the connection as it is used: by way of one member.
type route struct {
	*clientv3.Client
	turn int
	// moved is closed when another member is in use. Streams stay with the one
	// that they began with, so they must begin again then.
	moved <-chan struct{}
}

// connect returns the connection, and makes it if there is none yet: with a
// user, that needs an answer of etcd's, which may not be there yet.
func (c *client) connect(ctx context.Context) (route, error) {
	if l, err := c.connected(); l.Client != nil || err != nil {
		return l, err
	}
	select {
	case c.dialing <- struct{}{}:
		defer func() { <-c.dialing }()
	case <-ctx.Done():
		return route{}, ctx.Err()
	}
	l, err := c.connected()
	if l.Client != nil || err != nil {
		return l, err // another was faster
	}
	conn, err := c.dial(c.cfg.Endpoints[l.turn%len(c.cfg.Endpoints)])
	if err != nil {
		return l, err
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
		return l, cmp.Or(c.split, errClosed)
	}
	conn.SetEndpoints(c.endpoint()) // it may have gone on meanwhile
	c.conn = conn
	return c.route(), nil
}

// connected returns the connection; that of the route is nil where there is none.
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

// endpoint is that of the member in use.
func (c *client) endpoint() string { return c.cfg.Endpoints[c.turn%len(c.cfg.Endpoints)] }

// moveOn goes on to the next member, unless somebody has since that turn.
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

// askTime is how long a member is waited for at most that is asked for its
// cluster.
const askTime = time.Second

// askClusters asks the members that have not said yet which cluster they are of.
// Those in use by different replicas would be two stores if that differed. One
// that doesn't answer is asked another time.
func (c *client) askClusters(ctx context.Context, conn *clientv3.Client) error {
	c.mu.Lock()
	ask := c.unknown
	c.unknown = nil
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, c.askTime)
	defer cancel()
	errs := make([]error, len(ask))
	var asking sync.WaitGroup
	for i, endpoint := range ask {
		asking.Go(func() {
			status, err := conn.Status(ctx, endpoint)
			if err != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.unknown = append(c.unknown, endpoint)
				return
			}
			errs[i] = c.heard(status.Header.ClusterId)
		})
	}
	asking.Wait()
	return errors.Join(errs...)
}

// allKnown reports whether no member is left to be asked. Whoever asks must not
// be asking meanwhile.
func (c *client) allKnown() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.unknown) == 0
}

func (c *client) dial(endpoint string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:   []string{endpoint},
		TLS:         c.cfg.TLS,
		Username:    c.cfg.User,
		Password:    c.cfg.Password,
		DialTimeout: c.cfg.Timeout,
		// A connection whose member stands still is given up 12 s after its last
		// word (calls go to another one before that), and a cut that drops packets as soon as what was sent has not been received
		// for 2 s. etcd hangs up on clients that ask more often, or on a
		// connection on which nothing is under way.
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 2 * time.Second,
		// One attempt. The default is a hundred, and they are not only made
		// where the first certainly failed: after a write that the server
		// gave up on, the client would send it again.
		MaxUnaryRetries: 1,
		Logger:          zap.NewNop(), // what matters comes back as an error
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			// The default waits for up to two minutes, long after etcd is back.
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
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
	if errors.Is(err, context.Canceled) { // its way to say that it was closed
		err = nil
	}
	return err
}

// Cluster implements KV.
func (c *client) Cluster() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cluster == 0 {
		return ""
	}
	return strconv.FormatUint(c.cluster, 16)
}

// heard takes the cluster ID of an answer. One of another cluster is no answer:
// the endpoints must not lead to two.
func (c *client) heard(cluster uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cluster == 0 {
		c.cluster = cluster
	}
	if c.cluster != cluster {
		return fmt.Errorf("the endpoints %s lead to %w, %x and %x: name those of one", c.cfg.endpoints(), errTwoClusters, c.cluster, cluster)
	}
	return nil
}

// refusedToken reports whether etcd has refused a request for the token that it
// came with: one that has expired, that a restarted member has forgotten, or
// that is older than a change of any user or role. What was asked was surely not
// done. The library has fetched another token by the time it returns this.
func refusedToken(err error) bool {
	return errors.Is(err, rpctypes.ErrInvalidAuthToken) || errors.Is(err, rpctypes.ErrAuthOldRevision)
}

// Txn implements KV. The transaction is sent again only where it surely was not
// done: after a token was refused.
func (c *client) Txn(ctx context.Context, t Txn) (done bool, err error) {
	err = c.call(ctx, t.For, func(ctx context.Context, conn *clientv3.Client) error {
		send := func() (*clientv3.TxnResponse, error) {
			return conn.Txn(ctx).If(compares(t.If)...).Then(writes(t.Ops)...).Commit()
		}
		resp, err := send()
		for c.cfg.User != "" && refusedToken(err) && pause(ctx, tokenPause) {
			resp, err = send()
		}
		if err != nil {
			return err
		}
		done = resp.Succeeded
		return c.heard(resp.Header.ClusterId)
	})
	return done && err == nil, err
}

// tokenPause is how long it waits before it asks with another token.
const tokenPause = 20 * time.Millisecond

// Range implements KV. A read is tried again, within its time, where etcd says
// that it is unavailable, as it does while its members choose another leader, or
// has refused the token; and after half of its time by way of another member.
func (c *client) Range(ctx context.Context, r Range) (Page, error) {
	var page Page
	err := c.call(ctx, r.For, func(ctx context.Context, _ *clientv3.Client) error {
		get := func(limit time.Duration) (resp *clientv3.GetResponse, err error) {
			err = c.within(ctx, limit, func(ctx context.Context, conn *clientv3.Client) error {
				resp, err = conn.Get(ctx, r.From, rangeOptions(r)...)
				return err
			})
			return resp, err
		}
		limit := c.cfg.Timeout
		if len(c.cfg.Endpoints) > 1 {
			limit /= 2
		}
		resp, err := get(limit)
		for (noAnswer(err) || refusedToken(err)) && pause(ctx, tokenPause) {
			resp, err = get(c.cfg.Timeout)
		}
		if err != nil {
			return err
		}
		page = Page{Revision: resp.Header.Revision, More: resp.Count - int64(len(resp.Kvs)), Keys: make([]KeyValue, len(resp.Kvs))}
		if r.Revision != 0 {
			page.Revision = r.Revision
		}
		for i, kv := range resp.Kvs {
			page.Keys[i] = KeyValue{Key: string(kv.Key), Value: kv.Value, CreateRevision: kv.CreateRevision}
		}
		return c.heard(resp.Header.ClusterId)
	})
	return page, err
}

// call makes a round trip within its own time, reports it, and says what to do
// about an error.
func (c *client) call(ctx context.Context, why Purpose, do func(context.Context, *clientv3.Client) error) error {
	start := time.Now()
	err := c.cfg.explain(c.within(ctx, c.cfg.Timeout, do))
	if why == ForOffline {
		err = c.cfg.diagnose(err) // a person waits for it
	}
	c.cfg.Observe(RoundTrip{For: why, Took: time.Since(start), Err: err})
	return err
}

// within does what is to be done by way of the member in use, within a limit of
// time, and leaves that member if it had no answer.
func (c *client) within(ctx context.Context, limit time.Duration, do func(context.Context, *clientv3.Client) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l, err := c.connect(limited)
	if err == nil {
		err = do(limited, l.Client)
	}
	if noAnswer(err) && ctx.Err() == nil {
		c.moveOn(l.turn)
	}
	return err
}

// noAnswer reports whether a member gave no answer, or was not up to giving one:
// another one may.
func noAnswer(err error) bool {
	return err != nil && (unavailable(err) || errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded ||
		errors.Is(err, errTwoClusters))
}

// errTwoClusters is in the error of an answer that came from another cluster.
var errTwoClusters = errors.New("two etcd clusters")

func compares(cs []Compare) []clientv3.Cmp {
	out := make([]clientv3.Cmp, len(cs))
	for i, c := range cs {
		switch {
		case c.Value != nil:
			out[i] = clientv3.Compare(clientv3.Value(c.Key), "=", string(c.Value))
		case c.To != "": // it holds of each key that is there, so of none
			out[i] = clientv3.Compare(clientv3.CreateRevision(c.Key), "=", 0).WithRange(c.To)
		default:
			out[i] = clientv3.Compare(clientv3.CreateRevision(c.Key), "=", c.CreateRevision)
		}
	}
	return out
}

func writes(ops []Op) []clientv3.Op {
	out := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		if op.Delete {
			out[i] = clientv3.OpDelete(op.Key)
		} else {
			out[i] = clientv3.OpPut(op.Key, string(op.Value))
		}
	}
	return out
}

func rangeOptions(r Range) []clientv3.OpOption {
	var opts []clientv3.OpOption // the order of the keys is the default
	if r.To != "" {
		opts = append(opts, clientv3.WithRange(r.To))
	}
	if r.Revision != 0 {
		opts = append(opts, clientv3.WithRev(r.Revision))
	}
	if r.Limit != 0 {
		opts = append(opts, clientv3.WithLimit(int64(r.Limit)))
	}
	return opts
}

// pause waits, and says whether ctx still lasts.
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
