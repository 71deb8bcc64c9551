package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

var _ KV = (*client)(nil)

// client is the KV of real life.
type client struct {
	cfg Config
	// dialing has room for one: whoever makes the connection.
	dialing chan struct{}

	mu      sync.Mutex
	conn    *clientv3.Client // nil until one could be made
	closed  bool
	cluster uint64 // etcd's cluster ID; 0 before the first answer
}

func newClient(cfg Config) *client {
	return &client{cfg: cfg, dialing: make(chan struct{}, 1)}
}

// connect returns the connection, and makes it if there is none yet: with a
// user, that needs an answer of etcd's, which may not be there yet.
func (c *client) connect(ctx context.Context) (*clientv3.Client, error) {
	if conn, err := c.connected(); conn != nil || err != nil {
		return conn, err
	}
	select {
	case c.dialing <- struct{}{}:
		defer func() { <-c.dialing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if conn, err := c.connected(); conn != nil || err != nil {
		return conn, err // another was faster
	}
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close() // nobody has used it
		return nil, errClosed
	}
	c.conn = conn
	return conn, nil
}

func (c *client) connected() (*clientv3.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	return c.conn, nil
}

func (c *client) dial() (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:   c.cfg.Endpoints,
		TLS:         c.cfg.TLS,
		Username:    c.cfg.User,
		Password:    c.cfg.Password,
		DialTimeout: c.cfg.Timeout,
		// A member that stands still is noticed 12 s after its last word, and a
		// cut that drops packets as soon as what was sent has not been received
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
		return fmt.Errorf("the endpoints %s lead to two etcd clusters, %x and %x: name those of one", c.cfg.endpoints(), c.cluster, cluster)
	}
	return nil
}

// Txn implements KV.
func (c *client) Txn(ctx context.Context, t Txn) (done bool, err error) {
	err = c.call(ctx, t.For, func(ctx context.Context, conn *clientv3.Client) error {
		resp, err := conn.Txn(ctx).If(compares(t.If)...).Then(writes(t.Ops)...).Commit()
		if err != nil {
			return err
		}
		done = resp.Succeeded
		return c.heard(resp.Header.ClusterId)
	})
	return done && err == nil, err
}

// Range implements KV. A read is tried again, within its time, where etcd says
// that it is unavailable, as it does while its members choose another leader,
// or has forgotten the user's token, as it does when it starts again.
func (c *client) Range(ctx context.Context, r Range) (Page, error) {
	var page Page
	err := c.call(ctx, r.For, func(ctx context.Context, conn *clientv3.Client) error {
		resp, err := conn.Get(ctx, r.From, rangeOptions(r)...)
		for (unavailable(err) || errors.Is(err, rpctypes.ErrInvalidAuthToken)) && pause(ctx, 20*time.Millisecond) {
			resp, err = conn.Get(ctx, r.From, rangeOptions(r)...)
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
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	conn, err := c.connect(ctx)
	if err == nil {
		err = do(ctx, conn)
	}
	err = c.cfg.explain(err)
	if why == ForOffline {
		err = c.cfg.diagnose(err) // a person waits for it
	}
	c.cfg.Observe(RoundTrip{For: why, Took: time.Since(start), Err: err})
	return err
}

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
