package etcd

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cirrus-id/cirrus/store"
)

var _ Election = (*election)(nil)

// election is the Election that production uses. Each campaign puts a key under
// leader/ that is bound to an etcd lease, the session. The replica whose key is
// the oldest leads. etcd's own election library does the same, but its calls stay
// with the member that it started with; here every call goes to the member in use.
//
// These hold at all times:
//
//   - A replica has at most one key of its own in the election, but for those of
//     stale sessions.
//   - A session that is not kept alive any more is revoked, or in stale, or ended
//     by etcd within its TTL.
//   - leader and first come from one read of all the keys, at revision seen, and
//     seen never falls.
//   - lost is closed before its session is revoked, so nobody leads by a session
//     that this replica has given up.
type election struct {
	client *client
	keys   keys
	self   store.Member
	ttl    time.Duration
	log    *slog.Logger

	ctx     context.Context // of all goroutines that the election starts
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	closed  bool // no more goroutines may be started
	leader  store.Member
	first   string        // the oldest key, which is the leader's
	seen    int64         // the revision at which leader and first were read
	changed chan struct{} // closed and replaced when leader or first changes
	// stale are sessions that have ended here and may last in etcd, because it
	// did not answer the Revoke. Their keys would be older than ours in the next
	// campaign, for as long as the sessions last.
	stale []clientv3.LeaseID
}

func newElection(c *client, self store.Member) *election {
	e := &election{
		client: c, keys: keysUnder(c.cfg.Prefix), self: self, ttl: c.cfg.SessionTTL,
		log:     c.cfg.Logger,
		changed: make(chan struct{}),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.running.Go(func() { e.observe(e.ctx) })
	e.running.Go(func() { c.askRemaining(e.ctx) })
	return e
}

// Close implements Election. It does not revoke a session, but nothing keeps it
// alive any more.
func (e *election) Close() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.cancel()
	e.running.Wait()
	return nil
}

// start runs f on a goroutine of its own, and reports whether it did: a closed
// election starts none.
func (e *election) start(f func()) bool {
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
	defer context.AfterFunc(e.ctx, func() { cancel(errClosed) })()
	logged := ""
	for wait := (backoff{}); ; {
		s, err := e.campaign(ctx)
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		err = e.client.cfg.diagnose(err)
		if err.Error() != logged { // the same error comes about once a second
			logged = err.Error()
			e.log.Warn("waiting for etcd, to take part in the election", "error", err)
		}
		if !wait.pause(ctx) {
			return nil, context.Cause(ctx)
		}
	}
}

var (
	// errSessionLost and errKeyLost are why a campaign starts again. With the
	// second, etcd keeps the session, but its key was deleted.
	errSessionLost = errors.New(
		"the session was lost, since etcd did not answer for the session's TTL")
	errKeyLost = errors.New(
		"the key of this replica in the election is gone: find out who else writes to the prefix")
)

// campaign starts a session, puts its key, and waits until that key is the
// oldest. It gives up when the session or the key is lost, or ctx ends.
func (e *election) campaign(ctx context.Context) (_ *session, err error) {
	s, err := e.newSession(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			// if it fails, etcd ends the session after its TTL
			_ = s.Resign(context.WithoutCancel(ctx))
		}
	}()
	if err := s.putKey(ctx); err != nil {
		return nil, err
	}
	for {
		e.mu.Lock()
		first, seen, changed := e.first, e.seen, e.changed
		e.mu.Unlock()
		switch {
		case first == s.key:
			return s, nil
		case first == "" && seen >= s.revision:
			return nil, errKeyLost
		}
		select {
		case <-changed:
		case <-s.lost:
			return nil, errSessionLost
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
