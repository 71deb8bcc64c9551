package service

import (
	"context"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
)

// Headers of requests that a replica passes on, and of answers to them.
const (
	// LeaderHeader is the base URL of the replica that led and answered, on
	// answers of a replica that had passed the request on.
	LeaderHeader = "Cirrus-Leader"
	// storeHeader is the ID of the sender's store, and memberHeader the
	// sender's own: who has them comes from a replica, and is not passed on.
	storeHeader  = "Cirrus-Store"
	memberHeader = "Cirrus-Member"
)

const (
	// leaderPatience is how long a request waits for a leader, or for another
	// one than the last that it found.
	// It is shorter than any try of a client, which would give up without having
	// been told why.
	leaderPatience = time.Second
	// retryPause is how long it waits before it asks this replica's own term again.
	retryPause = 50 * time.Millisecond
)

// rpc is how a request of one kind is answered: here, by this replica's term,
// or there, by the leader. Whatever is asked may be asked again, as clients do:
// a request that ended with its term's end goes to the next.
type rpc[Req, Res any] struct {
	here  func(*term, context.Context, *Req) (*Res, error)
	there func(*peer, context.Context, *Req) (*Res, error)
	// once: it goes again only if it surely was not done.
	once bool
	// begun is set once a part of the answer is out, so that it goes no more.
	begun *bool
	// spent takes from the request the time that it has waited.
	spent func(*Req, time.Duration)
}

// do answers a request.
func (c *rpc[Req, Res]) do(ctx context.Context, s *Service, req *Req) (*Res, error) {
	var res *Res
	var err error
	if s.cfg.Cluster == nil {
		res, err = c.here(s.role.Load().term, ctx, req)
	} else {
		res, err = c.route(ctx, s, req)
	}
	if err != nil {
		return nil, toWire(s.counted(err))
	}
	return res, nil
}

// route finds who may answer, and waits a while for one who does.
func (c *rpc[Req, Res]) route(ctx context.Context, s *Service, req *Req) (*Res, error) {
	endTurn(ctx) // a peer, or one who leads, may have to be waited for
	w := leaderWait{s: s}
	for {
		begun := s.cfg.Steady.Now()
		r := s.role.Load()
		res, err := c.try(ctx, r, req)
		switch {
		case err == nil:
			return res, nil
		case c.begun != nil && *c.begun, !again(err, c.once), passedOn(ctx):
			return nil, s.final(err)
		}
		if err := w.wait(ctx, r); err != nil {
			return nil, err
		}
		if c.spent != nil {
			c.spent(req, s.cfg.Steady.Now()-begun)
		}
	}
}

func (c *rpc[Req, Res]) try(ctx context.Context, r *role, req *Req) (*Res, error) {
	switch {
	case r.term != nil:
		r.term.under.begin()
		defer r.term.under.end()
		return c.here(r.term, ctx, req)
	case passedOn(ctx):
		return nil, errNotLeading // and no further, or requests could go round
	case r.leader != nil:
		if _, cause := r.leader.doubted(); cause != nil {
			return nil, errNoLeader
		}
		return c.there(r.leader, ctx, req)
	}
	return nil, errNoLeader
}

// final is what a request gets that goes nowhere else.
func (s *Service) final(err error) error {
	var u *unreachable
	if errors.As(err, &u) {
		return s.refusal(errUnknown)
	}
	return err
}

// passedOn says whether a request comes from another replica.
func passedOn(ctx context.Context) bool {
	info, ok := connect.CallInfoForHandlerContext(ctx)
	return ok && info.RequestHeader().Get(memberHeader) != ""
}

// again says whether another replica, or this one in a moment, may answer what
// ended so. once: only where it surely was not done.
func again(err error, once bool) bool {
	var u *unreachable
	if errors.As(err, &u) {
		return !once || u.unsent
	}
	switch reasonOf(err) {
	case reasonNoLeader, reasonNotLeader, reasonStopping:
		return true
	case fencing.ReasonStoreFailed:
		return !once
	}
	return false
}

// leaderWait is a request's waiting for a leader.
type leaderWait struct {
	s     *Service
	tried *role
	until time.Duration // steady; 0: it has not waited yet
}

// wait waits for another role than the one that was of no use, or until the one
// that leads is no longer in doubt, which is news, too. It does not wait where
// there has been no leader for too long.
func (w *leaderWait) wait(ctx context.Context, r *role) error {
	s := w.s
	now := s.cfg.Steady.Now()
	leader := r.term != nil || r.leader != nil
	switch {
	case w.until == 0 || leader && (w.tried == nil || r.term != w.tried.term || r.leader != w.tried.leader):
		w.until = now + leaderPatience
	case now >= w.until:
		return s.refusal(errNoLeader)
	}
	if s.longWithout(r) {
		return s.refusal(errNoLeader)
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
func (s *Service) longWithout(r *role) bool {
	switch {
	case r.term != nil:
		return false
	case r.leader != nil:
		return r.leader == s.role.Load().leader && r.leader.lost()
	}
	return s.cfg.Steady.Now()-r.since > s.cfg.Cluster.SessionTTL()
}

// refuseStrangers turns away what replicas of another store pass on. That they do
// is what headers say, which anybody can send: so it is no alarm here, and counted
// apart from other refusals. The alarm is the sender's (tellWrongStore), which has
// asked an address that its own store names.
func (s *Service) refuseStrangers(next http.Handler) http.Handler {
	if s.cfg.Cluster == nil {
		return next
	}
	errs := connect.NewErrorWriter()
	told := &seldom{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(memberHeader) == "" {
			next.ServeHTTP(w, r)
			return
		}
		// A replica that has not reached its store yet knows of no ID, and
		// doesn't lead.
		theirs, ours := r.Header.Get(storeHeader), s.cfg.Cluster.ID()
		if ours == "" || theirs == ours {
			next.ServeHTTP(w, r)
			return
		}
		s.metrics.strangers.Inc()
		if since, ok := told.may(s.cfg.Steady.Now()); ok {
			s.log.Info("requests were refused that say that a replica of another store passes them on; if one does, its own log tells of it as an error",
				"its_store", quoted(theirs), "our_store", ours, "from", r.RemoteAddr, "refused_since_last_told", since)
		}
		_ = errs.Write(w, r, toWire(errWrongStore)) // it may be gone
	})
}
