package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cirrus-id/cirrus/store"
)

var _ Election = (*election)(nil)

// election is the Election of real life. Each campaign puts a key under leader/
// that lives as long as an etcd lease, the session; the replica whose key is the
// oldest leads. etcd's own election library does the same, but keeps to the
// member that it began with: here every call goes to the member in use.
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
	first  string        // the oldest key, which is the leader's
	seen   int64         // the revision at which they were read
	news   chan struct{} // closed and replaced when leader or first changes
	// stale are sessions that are over here, and may not be in etcd: while it
	// could not be told, or had no quorum to let them lapse. Their keys would
	// stand before ours in the next election, for as long as a session lasts.
	stale []clientv3.LeaseID
}

func newElection(c *client, self store.Member) *election {
	e := &election{
		client: c, keys: keysUnder(c.cfg.Prefix), self: self, ttl: c.cfg.SessionTTL, log: c.cfg.Logger,
		news: make(chan struct{}),
	}
	e.life, e.end = context.WithCancel(context.Background())
	e.running.Go(func() { e.observe(e.life) })
	e.running.Go(func() { e.askClusters(e.life) })
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
func (e *election) Campaign(ctx context.Context) (Elected, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(e.life, func() { cancel(errClosed) })()
	said := ""
	for wait := (retry{}); ; {
		s, err := e.campaign(ctx)
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		err = e.client.cfg.diagnose(err)
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

// errKeyLost is another reason: etcd keeps the session, and somebody has deleted
// its key.
var errKeyLost = errors.New("the key of this replica in the election is gone: look who writes to the prefix")

// campaign makes a session, puts its key, and waits until that is the oldest,
// the session or the key is lost, or ctx ends.
func (e *election) campaign(ctx context.Context) (_ *session, err error) {
	s, err := e.newSession(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.Resign(context.WithoutCancel(ctx)) // else etcd does it, when the session's TTL is over
		}
	}()
	if err := s.stand(ctx); err != nil {
		return nil, err
	}
	for {
		e.mu.Lock()
		first, seen, news := e.first, e.seen, e.news
		e.mu.Unlock()
		switch {
		case first == s.key:
			return s, nil
		case first == "" && seen >= s.revision:
			return nil, errKeyLost
		}
		select {
		case <-news:
		case <-s.lost:
			return nil, errSessionLost
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// session is an etcd lease, and its key in the election.
type session struct {
	elect    *election
	lease    clientv3.LeaseID
	key      string
	revision int64
	over     sync.Once
	lost     chan struct{}
}

// newSession begins a session and keeps it alive.
func (e *election) newSession(ctx context.Context) (*session, error) {
	e.endStale(ctx)
	var granted *clientv3.LeaseGrantResponse
	asked := time.Now()
	err := e.client.call(ctx, ForElection, func(ctx context.Context, conn *clientv3.Client) (err error) {
		if granted, err = conn.Grant(ctx, seconds(e.ttl)); err != nil {
			return err
		}
		return e.client.heard(granted.ClusterId)
	})
	if err != nil {
		return nil, err
	}
	if granted.TTL > seconds(e.ttl) {
		e.log.Warn("etcd doesn't make sessions that short: raise --etcd-session-ttl, or replicas wait longer for a silent leader than they know",
			"session_ttl", e.ttl, "etcd_seconds", granted.TTL)
	}
	s := &session{elect: e, lease: granted.ID, key: fmt.Sprintf("%s%x", e.keys.leaderFrom, granted.ID), lost: make(chan struct{})}
	if !e.run(func() { s.keepAlive(e.life, asked) }) {
		s.lose()
		return nil, errClosed
	}
	return s, nil
}

// stand puts the session's key.
func (s *session) stand(ctx context.Context) error {
	e := s.elect
	err := e.client.call(ctx, ForElection, func(ctx context.Context, conn *clientv3.Client) error {
		put := clientv3.OpPut(s.key, encodeMember(e.self), clientv3.WithLease(s.lease))
		resp, err := conn.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(s.key), "=", 0)).Then(put).Commit()
		if err != nil {
			return err
		}
		if !resp.Succeeded {
			return fmt.Errorf("the key %s is there already: look who writes to the prefix", s.key)
		}
		s.revision = resp.Header.Revision
		return nil
	})
	if err == nil {
		_, err = e.look(ctx)
	}
	return err
}

// keepAlive keeps the session alive until it is over. It asks three times in a
// TTL, and gives each try no more than a third: so a member that stands still is
// left for another one, which has a third of the TTL to answer.
func (s *session) keepAlive(ctx context.Context, kept time.Time) {
	e := s.elect
	var p pulse
	defer s.lose()
	defer func() { p.end() }()
	for wait := e.ttl / 3; ; {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.lost:
		case <-ctx.Done():
		}
		timer.Stop()
		if isClosed(s.lost) || ctx.Err() != nil {
			return
		}
		asked := time.Now()
		err := e.client.within(ctx, min(e.client.cfg.Timeout, e.ttl/3), func(limited context.Context, conn *clientv3.Client) error {
			return p.beat(ctx, limited, conn, s.lease)
		})
		if err != nil {
			p.end()
		}
		switch {
		case err == nil:
			kept, wait = asked, e.ttl/3
		case errors.Is(err, rpctypes.ErrLeaseNotFound), time.Since(kept) >= e.ttl:
			return
		default:
			wait = min(50*time.Millisecond, e.ttl/20)
		}
	}
}

// pulse is the stream by which a session is kept alive. The library's own stays
// with a member that stands still, and opening one for each beat would have etcd
// check the password each time.
type pulse struct {
	stream pb.Lease_LeaseKeepAliveClient // nil: there is none
	cancel context.CancelFunc
}

// beat asks once, over the stream that is there, or another one that lasts as
// long as life.
func (p *pulse) beat(life, ctx context.Context, conn *clientv3.Client, id clientv3.LeaseID) (err error) {
	if p.stream == nil {
		life, p.cancel = context.WithCancel(life)
	}
	defer context.AfterFunc(ctx, p.cancel)()
	if p.stream == nil {
		if p.stream, err = pb.NewLeaseClient(conn.ActiveConnection()).LeaseKeepAlive(clientv3.WithRequireLeader(life)); err != nil {
			return cmp.Or(ctx.Err(), err)
		}
	}
	if err := p.stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil && !errors.Is(err, io.EOF) { // which Recv explains
		return cmp.Or(ctx.Err(), err)
	}
	resp, err := p.stream.Recv()
	switch {
	case err != nil:
		return cmp.Or(ctx.Err(), err)
	case resp.TTL <= 0:
		return rpctypes.ErrLeaseNotFound
	}
	return nil
}

// end ends the stream, if there is one.
func (p *pulse) end() {
	if p.cancel != nil {
		p.cancel()
	}
	*p = pulse{}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// lose closes lost, once.
func (s *session) lose() { s.over.Do(func() { close(s.lost) }) }

// Key implements Elected.
func (s *session) Key() string { return s.key }

// Revision implements Elected.
func (s *session) Revision() int64 { return s.revision }

// Lost implements Elected. The session's end is noticed late where this
// process stood still: nothing may rest on it.
func (s *session) Lost() <-chan struct{} { return s.lost }

// Resign implements Elected: it ends the session, here and, if it can, in
// etcd, where the key goes with it. If it can't, the next session begins with
// that.
func (s *session) Resign(ctx context.Context) error {
	s.lose()
	e := s.elect
	err := e.revoke(ctx, s.lease)
	if err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.stale = append(e.stale, s.lease)
	}
	return err
}

// endStale ends the sessions that could not be ended before, as far as it can.
func (e *election) endStale(ctx context.Context) {
	e.mu.Lock()
	stale := e.stale
	e.stale = nil
	e.mu.Unlock()
	for i, id := range stale {
		if e.revoke(ctx, id) != nil {
			e.mu.Lock()
			e.stale = append(e.stale, stale[i:]...)
			e.mu.Unlock()
			return
		}
	}
}

func (e *election) revoke(ctx context.Context, id clientv3.LeaseID) error {
	return e.client.call(ctx, ForElection, func(ctx context.Context, conn *clientv3.Client) error {
		_, err := conn.Revoke(ctx, id)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return nil // it is over already
		}
		return err
	})
}

// seconds rounds up: etcd counts whole ones.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// Leader implements Election.
func (e *election) Leader() (store.Member, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader, e.news
}

func (e *election) heard(m store.Member, key string, revision int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if revision < e.seen { // two reads, and the earlier one comes later
		return
	}
	e.seen = revision
	if m == e.leader && key == e.first {
		return
	}
	e.leader, e.first = m, key
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
		if err != nil {
			e.log.Debug("can't tell who leads", "error", err)
			if !wait.pause(ctx) {
				return
			}
		}
	}
}

// follow reads who leads and then watches, until something goes wrong, or the
// client goes on to another member, since a watch stays where it began. A member
// that stands still sends nothing and ends nothing: so it reads again, three
// times in a session's TTL, which finds that out.
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
	// Watch returns once the member has begun it, which one that stands still
	// doesn't.
	begin := time.AfterFunc(e.client.cfg.Timeout, cancel)
	changes := conn.Watch(watching, e.keys.leaderFrom, clientv3.WithPrefix(), clientv3.WithRev(revision+1))
	if !begin.Stop() {
		e.client.moveOn(conn.turn)
		return errors.New("no watch was begun in time")
	}
	tick := time.NewTicker(max(e.ttl/3, time.Second/3))
	defer tick.Stop()
	for {
		select {
		case change, ok := <-changes:
			switch {
			case !ok:
				return errors.New("the watch has ended")
			case change.Err() != nil:
				return change.Err()
			case len(change.Events) == 0 || change.Header.Revision <= revision:
				continue
			}
		case <-tick.C:
		case <-conn.moved:
			return nil
		}
		if revision, err = e.look(ctx); err != nil {
			return err
		}
	}
}

// askPauseMax is the longest pause before members that have not said which
// cluster they are of are asked again.
const askPauseMax = 30 * time.Second

// askClusters asks those members until all have answered. Nothing waits for it:
// a member that is down takes the whole time of each try.
func (e *election) askClusters(ctx context.Context) {
	for wait := max(e.ttl/3, time.Second/3); pause(ctx, wait); {
		conn, err := e.client.connect(ctx)
		if err != nil {
			continue
		}
		if e.client.allKnown() {
			return
		}
		if err := e.client.askClusters(ctx, conn.Client); err != nil {
			e.log.Error("a member of etcd that did not answer before is of another cluster", "error", err)
		}
		wait = min(2*wait, askPauseMax)
	}
}

// look reads who leads: the oldest key that a session has. Keys that have none
// are somebody else's.
func (e *election) look(ctx context.Context) (revision int64, err error) {
	var leader store.Member
	var key string
	err = e.client.call(ctx, ForElection, func(ctx context.Context, conn *clientv3.Client) error {
		resp, err := conn.Get(ctx, e.keys.leaderFrom, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
		if err != nil {
			return err
		}
		for _, kv := range resp.Kvs {
			if kv.Lease != 0 {
				leader, key = decodeMember(kv.Value), string(kv.Key)
				break
			}
		}
		revision = resp.Header.Revision
		return e.client.heard(resp.Header.ClusterId)
	})
	if err == nil {
		e.heard(leader, key, revision)
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
