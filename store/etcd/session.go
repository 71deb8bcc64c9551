package etcd

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/cirrus-id/cirrus/store"
)

var _ Election = (*election)(nil)

// election is the Election of real life: etcd's own, with a session of its own
// for each campaign.
type election struct {
	client *client
	keys   keys
	self   store.Member
	ttl    time.Duration
	log    *slog.Logger

	life    context.Context // all that the election runs beside its callers
	end     context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool // nothing more may be run
	leader store.Member
	news   chan struct{} // closed and replaced when leader changes
	// adrift are sessions that are over here, and may not be in etcd: while it
	// could not be told, or had no quorum to let them lapse. Their keys would
	// stand before ours in the next election, for as long as a session lasts.
	adrift []clientv3.LeaseID
}

func newElection(c *client, self store.Member) *election {
	e := &election{
		client: c, keys: keysUnder(c.cfg.Prefix), self: self, ttl: c.cfg.SessionTTL, log: c.cfg.Logger,
		news: make(chan struct{}),
	}
	e.life, e.end = context.WithCancel(context.Background())
	e.running.Go(func() { e.observe(e.life) })
	return e
}

// Close implements Election. A session that lasts is no longer kept alive.
func (e *election) Close() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.end()
	e.running.Wait()
	return nil
}

// run runs f beside the callers, unless the election is closed.
func (e *election) run(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.running.Go(f)
	}
	return !e.closed
}

// Campaign implements Election.
func (e *election) Campaign(ctx context.Context) (Leadership, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(e.life, func() { cancel(errClosed) })()
	said := ""
	for wait := (retry{}); ; {
		l, err := e.campaign(ctx)
		if err == nil {
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		err = e.client.cfg.diagnose(e.client.cfg.explain(err))
		if err.Error() != said { // not once a second
			said = err.Error()
			e.log.Warn("waiting for etcd, to take part in the election", "error", err)
		}
		if !wait.pause(ctx) {
			return nil, context.Cause(ctx)
		}
	}
}

// errSessionLost is why a campaign begins again.
var errSessionLost = errors.New("the session was lost, since etcd did not answer for the session's TTL")

// campaign makes a session and campaigns with it, until it wins, loses the
// session, or ctx ends.
func (e *election) campaign(ctx context.Context) (_ *leadership, err error) {
	l, err := e.newSession(ctx)
	if err != nil {
		return nil, err
	}
	// The session ends the campaign, and so does ctx. Either ends l.life, which
	// keeps the library from trying to clean up without a limit of time.
	stop := context.AfterFunc(ctx, l.end)
	l.election = concurrency.NewElection(l.session, e.keys.leader)
	err = l.election.Campaign(clientv3.WithRequireLeader(l.session.Ctx()), encodeMember(e.self))
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil && ctx.Err() == nil && l.session.Ctx().Err() != nil {
		err = errSessionLost
	}
	if err != nil {
		gone, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.client.cfg.Timeout)
		defer cancel()
		_ = l.drop(gone) // else etcd does it, when the session's TTL is over
		return nil, err
	}
	return l, nil
}

// leadership is a session, and the election that it takes part in.
type leadership struct {
	elect    *election
	conn     *clientv3.Client
	lease    clientv3.Lease
	life     context.Context
	end      context.CancelFunc
	session  *concurrency.Session
	election *concurrency.Election
	limit    time.Duration
	observe  func(RoundTrip)
}

// newSession begins a session with a stream of its own to keep it alive: one
// that is stuck to a member that stands still is not shared with the next
// session.
func (e *election) newSession(ctx context.Context) (*leadership, error) {
	conn, err := e.client.connect(ctx)
	if err != nil {
		return nil, err
	}
	granting, cancel := context.WithTimeout(ctx, e.client.cfg.Timeout)
	defer cancel()
	start := time.Now()
	granted, err := conn.Grant(granting, seconds(e.ttl))
	e.client.cfg.Observe(RoundTrip{For: ForElection, Took: time.Since(start), Err: err})
	if err != nil {
		return nil, err
	}
	if err := e.client.heard(granted.ClusterId); err != nil {
		return nil, err
	}
	if granted.TTL > seconds(e.ttl) {
		e.log.Warn("etcd doesn't make sessions that short: raise --etcd-session-ttl, or replicas wait longer for a silent leader than they know",
			"session_ttl", e.ttl, "etcd_seconds", granted.TTL)
	}
	e.endAdrift(granting, conn)
	l := &leadership{elect: e, conn: conn, lease: clientv3.NewLeaseFromLeaseClient(clientv3.RetryLeaseClient(conn), conn, e.ttl), limit: e.client.cfg.Timeout, observe: e.client.cfg.Observe}
	l.life, l.end = context.WithCancel(e.life)
	own := clientv3.NewCtxClient(l.life)
	own.KV, own.Watcher, own.Lease = conn.KV, conn.Watcher, l.lease
	l.session, err = concurrency.NewSession(own, concurrency.WithLease(granted.ID))
	if err != nil {
		l.end()
		return nil, errors.Join(err, l.lease.Close())
	}
	// Nobody may resign a session that was lost.
	clear := func() {
		<-l.session.Done()
		l.end()
		_ = l.lease.Close() // it has no error to tell
	}
	if !e.run(clear) {
		clear() // l.life has ended with e.life, or is about to
		return nil, errClosed
	}
	return l, nil
}

// Key implements Leadership.
func (l *leadership) Key() string { return l.election.Key() }

// Revision implements Leadership.
func (l *leadership) Revision() int64 { return l.election.Rev() }

// Lost implements Leadership. The session's end comes late, by up to a second,
// and counts from when an answer was received: nothing may rest on it.
func (l *leadership) Lost() <-chan struct{} { return l.session.Done() }

// Resign implements Leadership.
func (l *leadership) Resign(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	start := time.Now()
	err := l.drop(ctx)
	l.observe(RoundTrip{For: ForElection, Took: time.Since(start), Err: err})
	return err
}

// drop ends the session, here and, if it can, in etcd, where the key in the
// election goes with it. If it can't, the next session begins with that.
func (l *leadership) drop(ctx context.Context) error {
	l.end()
	l.session.Orphan()
	err := revoke(ctx, l.conn, l.session.Lease())
	if err != nil {
		l.elect.mu.Lock()
		defer l.elect.mu.Unlock()
		l.elect.adrift = append(l.elect.adrift, l.session.Lease())
	}
	return err
}

// endAdrift ends the sessions that could not be ended before, as far as it can.
func (e *election) endAdrift(ctx context.Context, conn *clientv3.Client) {
	e.mu.Lock()
	adrift := e.adrift
	e.adrift = nil
	e.mu.Unlock()
	for i, id := range adrift {
		if revoke(ctx, conn, id) != nil {
			e.mu.Lock()
			e.adrift = append(e.adrift, adrift[i:]...)
			e.mu.Unlock()
			return
		}
	}
}

func revoke(ctx context.Context, conn *clientv3.Client, id clientv3.LeaseID) error {
	_, err := conn.Revoke(ctx, id)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil // it is over already
	}
	return err
}

// seconds rounds up: etcd counts whole ones.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// Leader implements Election.
func (e *election) Leader() (store.Member, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader, e.news
}

func (e *election) heard(m store.Member) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m == e.leader {
		return
	}
	e.leader = m
	close(e.news)
	e.news = make(chan struct{})
}

// observe keeps the leader up to date. While etcd can't be reached the last one
// stays: it may well lead, and be reached from here.
func (e *election) observe(ctx context.Context) {
	for wait := (retry{}); ; {
		err := e.follow(ctx, wait.reset)
		if ctx.Err() != nil {
			return
		}
		e.log.Debug("can't tell who leads", "error", e.client.cfg.explain(err))
		if !wait.pause(ctx) {
			return
		}
	}
}

// follow reads who leads and then watches, until something goes wrong: a watch
// that etcd ends because it was compacted, or because its member has lost the
// others, is begun again from what is read then.
func (e *election) follow(ctx context.Context, works func()) error {
	conn, err := e.client.connect(ctx)
	if err != nil {
		return err
	}
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	revision, err := e.look(ctx)
	if err != nil {
		return err
	}
	works()
	changes := conn.Watch(watching, e.keys.leaderFrom, clientv3.WithPrefix(), clientv3.WithRev(revision+1))
	for change := range changes {
		if err := change.Err(); err != nil {
			return err
		}
		if len(change.Events) == 0 || change.Header.Revision <= revision {
			continue
		}
		if revision, err = e.look(ctx); err != nil {
			return err
		}
	}
	return errors.New("the watch has ended")
}

// look reads who leads: the oldest key.
func (e *election) look(ctx context.Context) (revision int64, err error) {
	var leader store.Member
	err = e.client.call(ctx, ForElection, func(ctx context.Context, conn *clientv3.Client) error {
		resp, err := conn.Get(ctx, e.keys.leaderFrom, clientv3.WithFirstCreate()...)
		if err != nil {
			return err
		}
		if len(resp.Kvs) > 0 {
			leader = decodeMember(resp.Kvs[0].Value)
		}
		revision = resp.Header.Revision
		return e.client.heard(resp.Header.ClusterId)
	})
	if err == nil {
		e.heard(leader)
	}
	return revision, err
}

// retry spaces tries out, from 50 ms to a second, each time by another part of
// it, so that replicas that wait for the same etcd don't come all at once.
type retry struct{ wait time.Duration }

func (r *retry) reset() { r.wait = 0 }

func (r *retry) pause(ctx context.Context) bool {
	r.wait = min(max(2*r.wait, 50*time.Millisecond), time.Second)
	return pause(ctx, r.wait/2+rand.N(r.wait/2))
}
