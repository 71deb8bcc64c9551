package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var _ Elected = (*session)(nil)

// session is an etcd lease that keepAlive renews, and the key in the election
// that is bound to it: etcd deletes the key when the lease ends. It is Elected
// once that key is the oldest.
type session struct {
	election  *election
	lease     clientv3.LeaseID
	key       string
	revision  int64 // at which the key was created
	closeLost sync.Once
	lost      chan struct{}
}

// newSession starts a session and keeps it alive.
func (e *election) newSession(ctx context.Context) (*session, error) {
	e.revokeStale(ctx)
	var granted *clientv3.LeaseGrantResponse
	sent := time.Now()
	err := e.client.call(ctx, ForElection,
		func(ctx context.Context, conn *clientv3.Client) (err error) {
			if granted, err = conn.Grant(ctx, seconds(e.ttl)); err != nil {
				return err
			}
			return e.client.answeredBy(granted.ClusterId)
		})
	if err != nil {
		return nil, err
	}
	if granted.TTL > seconds(e.ttl) {
		e.log.Warn(
			"etcd doesn't make sessions that short: raise the session TTL, or replicas wait longer for a silent leader than they know",
			"session_ttl", e.ttl, "etcd_seconds", granted.TTL)
	}
	s := &session{election: e, lease: granted.ID,
		key: fmt.Sprintf("%s%x", e.keys.leaderFrom, granted.ID), lost: make(chan struct{})}
	if !e.start(func() { s.keepAlive(e.ctx, sent) }) {
		s.lose()
		return nil, errClosed
	}
	return s, nil
}

// putKey puts the session's key, and reads who leads.
func (s *session) putKey(ctx context.Context) error {
	e := s.election
	err := e.client.call(ctx, ForElection, func(ctx context.Context, conn *clientv3.Client) error {
		put := clientv3.OpPut(s.key, encodeMember(e.self), clientv3.WithLease(s.lease))
		resp, err := conn.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(s.key),
			"=", 0)).Then(put).Commit()
		if err != nil {
			return err
		}
		if !resp.Succeeded {
			return fmt.Errorf("the key %s is there already: find out who else writes to the prefix",
				s.key)
		}
		s.revision = resp.Header.Revision
		return nil
	})
	if err == nil {
		_, err = e.readLeader(ctx)
	}
	return err
}

// keepAlive renews the lease until the session has ended, three times in a TTL.
// Each attempt takes a third of the TTL at most, so after a member that hangs, the
// next one still has a third of the TTL to answer.
func (s *session) keepAlive(ctx context.Context, renewed time.Time) {
	e := s.election
	var stream renewals
	defer s.lose()
	defer func() { stream.close() }()
	for wait := renewEvery(e.ttl); ; {
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
		sent := time.Now()
		err := e.client.within(ctx, e.client.renewTimeout(),
			func(limited context.Context, conn *clientv3.Client) error {
				return stream.renew(ctx, limited, conn, s.lease)
			})
		if err != nil {
			stream.close()
		}
		switch {
		case err == nil:
			renewed, wait = sent, renewEvery(e.ttl)
		case errors.Is(err, rpctypes.ErrLeaseNotFound), time.Since(renewed) >= e.ttl:
			return
		default:
			wait = renewRetry(e.ttl)
		}
	}
}

// renewals is the stream that keeps a session alive. The library's own stream
// stays with a member that hangs. A stream for each renewal would make etcd check
// the password each time.
type renewals struct {
	stream pb.Lease_LeaseKeepAliveClient // nil: not open
	cancel context.CancelFunc
}

// renew sends one renewal and waits for its answer, until ctx ends. It opens a
// stream that lasts as long as life, if there is none.
func (r *renewals) renew(life, ctx context.Context, conn *clientv3.Client,
	id clientv3.LeaseID) (err error) {
	if r.stream == nil {
		life, r.cancel = context.WithCancel(life)
	}
	defer context.AfterFunc(ctx, r.cancel)()
	if r.stream == nil {
		if r.stream, err = pb.NewLeaseClient(conn.ActiveConnection()).LeaseKeepAlive(
			clientv3.WithRequireLeader(life)); err != nil {
			return cmp.Or(ctx.Err(), err)
		}
	}
	// Recv says what EOF means
	if err := r.stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil &&
		!errors.Is(err, io.EOF) {
		return cmp.Or(ctx.Err(), err)
	}
	resp, err := r.stream.Recv()
	switch {
	case err != nil:
		return cmp.Or(ctx.Err(), err)
	case resp.TTL <= 0:
		return rpctypes.ErrLeaseNotFound
	}
	return nil
}

// close closes the stream, if it is open.
func (r *renewals) close() {
	if r.cancel != nil {
		r.cancel()
	}
	*r = renewals{}
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
func (s *session) lose() { s.closeLost.Do(func() { close(s.lost) }) }

// Key implements Elected.
func (s *session) Key() string { return s.key }

// Revision implements Elected.
func (s *session) Revision() int64 { return s.revision }

// Lost implements Elected. A process that was stopped for a while closes it late:
// no promise may rest on it.
func (s *session) Lost() <-chan struct{} { return s.lost }

// Resign implements Elected. It ends the session here, and revokes its lease,
// which deletes the key. If etcd doesn't answer, the next session starts by
// revoking this one.
func (s *session) Resign(ctx context.Context) error {
	s.lose()
	e := s.election
	err := e.revoke(ctx, s.lease)
	if err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.stale = append(e.stale, s.lease)
	}
	return err
}

// revokeStale revokes the sessions that Resign could not revoke, up to the first
// that fails again.
func (e *election) revokeStale(ctx context.Context) {
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
			return nil // it has ended already
		}
		return err
	})
}

// seconds rounds up, because etcd counts whole seconds.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
