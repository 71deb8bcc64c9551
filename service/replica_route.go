package service

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

const (
	// leaderTimeout is how long a request waits for a leader, or for another one
	// than the last that it found. It is shorter than any try of a client, which
	// would otherwise give up before it learned the reason.
	leaderTimeout = time.Second
	// retryPause is how long a request waits before it asks this replica's own term
	// again.
	retryPause = 50 * time.Millisecond
)

// answerer answers requests. A term answers by its rules; a peer forwards the
// requests to the replica that leads.
type answerer interface {
	cirrusv1connect.LeaseServiceHandler
	cirrusv1connect.AdminServiceHandler
}

var (
	_ answerer = (*term)(nil)
	_ answerer = (*peer)(nil)
)

// retries says when a request is asked again because a term ended or the leader
// was not reached. The zero value: whenever another answerer may know better, since
// clients repeat every request as well.
type retries struct {
	// once: the request is asked again only if it surely was not carried out.
	once bool
	// waited is told how long the request has waited so far, before it is asked
	// again. nil: nothing in the request depends on that.
	waited func(time.Duration)
}

// route has a request answered by this replica's term if it leads, and by the
// replica that leads if not. While nobody leads it waits for up to leaderTimeout. An
// error that it returns is ready for the wire, and counted.
func route[Req, Res any](ctx context.Context, s *Service, req *Req,
	call func(answerer, context.Context, *Req) (*Res, error), again retries) (*Res, error) {
	var res *Res
	var err error
	if s.cfg.Cluster == nil {
		res, err = call(s.state.Load().term, ctx, req)
	} else {
		res, err = routeAmongReplicas(ctx, s, req, call, again)
	}
	if err != nil {
		return nil, s.wireError(err)
	}
	return res, nil
}

func routeAmongReplicas[Req, Res any](ctx context.Context, s *Service, req *Req,
	call func(answerer, context.Context, *Req) (*Res, error), again retries) (*Res, error) {
	endTurn(ctx) // the request may have to wait for a peer, or for a leader
	w := leaderWait{s: s}
	for {
		started := s.cfg.Steady.Now()
		r := s.state.Load()
		res, err := try(ctx, r, req, call)
		if err == nil {
			return res, nil
		}
		if !again.allow(err) || forwarded(ctx) {
			return nil, final(err)
		}
		if err := w.wait(ctx, r); err != nil {
			return nil, err
		}
		if again.waited != nil {
			again.waited(s.cfg.Steady.Now() - started)
		}
	}
}

// try asks the answerer that a state has, if there is one.
func try[Req, Res any](ctx context.Context, r *replicaState, req *Req,
	call func(answerer, context.Context, *Req) (*Res, error)) (*Res, error) {
	switch {
	case r.term != nil:
		r.term.work.start()
		defer r.term.work.end()
		return call(r.term, ctx, req)
	case forwarded(ctx):
		return nil, errNotLeading // forwarded once more, requests could go round in circles
	case r.leader != nil:
		if _, cause := r.leader.doubted(); cause != nil {
			return nil, errNoLeader
		}
		res, err := call(r.leader, ctx, req)
		return res, r.leader.sign(ctx, err)
	}
	return nil, errNoLeader
}

// allow reports whether another replica, or this one in a moment, may answer a
// request that ended with an error.
func (a retries) allow(err error) bool {
	if errors.As(err, new(*partial)) {
		return false
	}
	var u *unreachable
	if errors.As(err, &u) {
		return !a.once || u.unsent
	}
	switch reasonOf(err) {
	case reasonNoLeader, reasonNotLeader, reasonStopping:
		return true
	case fencing.ReasonStoreFailed:
		return !a.once
	}
	return false
}

// final returns the error of a request that is not asked again.
func final(err error) error {
	if errors.As(err, new(*unreachable)) {
		return errUnknown
	}
	return err
}

// forwarded reports whether a request was forwarded by another replica.
func forwarded(ctx context.Context) bool {
	info, ok := connect.CallInfoForHandlerContext(ctx)
	return ok && info.RequestHeader().Get(memberHeader) != ""
}

// leaderWait is a request's wait for a leader.
type leaderWait struct {
	s     *Service
	tried *replicaState // the last one with a leader; nil: none
	until time.Duration // steady; 0: it has not waited yet
}

// wait waits for another state than the one that was of no use, or for news of its
// leader. It returns errNoLeader at once if there has been no leader for too long.
func (w *leaderWait) wait(ctx context.Context, r *replicaState) error {
	s := w.s
	now := s.cfg.Steady.Now()
	leader := r.term != nil || r.leader != nil
	switch {
	case w.until == 0 || leader &&
		(w.tried == nil || r.term != w.tried.term || r.leader != w.tried.leader):
		w.until = now + leaderTimeout
	case now >= w.until:
		return errNoLeader
	}
	if s.longWithout(r) {
		return errNoLeader
	}
	at := w.until
	if leader {
		w.tried = r
	}
	if r.term != nil {
		at = min(at, now+retryPause)
	}
	return s.wait(ctx, r.news, at)
}

// longWithout reports whether this replica has known of no leader, or of none
// that it can reach, for longer than a session lasts.
func (s *Service) longWithout(r *replicaState) bool {
	switch {
	case r.term != nil:
		return false
	case r.leader != nil:
		return r.leader == s.state.Load().leader && r.leader.lost()
	}
	return s.cfg.Steady.Now()-r.since > s.cfg.Cluster.SessionTTL()
}
