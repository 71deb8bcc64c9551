package service

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// errorDomain is the domain of every ErrorInfo.
const errorDomain = "cirrus"

// Reasons that no rule gives, only the service around them.
const (
	reasonStopping  fencing.Reason = "SHUTTING_DOWN"
	reasonTooBehind fencing.Reason = "WATCH_TOO_FAR_BEHIND"
	reasonTooMany   fencing.Reason = "TOO_MANY_WATCHES"
	reasonBadOrigin fencing.Reason = "ORIGIN_NOT_ALLOWED"
	reasonBadHost   fencing.Reason = "HOST_NOT_ALLOWED"
	reasonStoreSlow fencing.Reason = "STORE_SLOW"
	// Of several replicas.
	reasonNoLeader     fencing.Reason = "NO_LEADER"
	reasonNotLeader    fencing.Reason = "NOT_LEADER"
	reasonWrongStore   fencing.Reason = "WRONG_STORE"
	reasonNotConfirmed fencing.Reason = "NOT_CONFIRMED"
)

// codes is the table from a refusal's reason to the wire's code.
var codes = map[fencing.Reason]connect.Code{
	fencing.ReasonInvalid:         connect.CodeInvalidArgument,
	fencing.ReasonPoolNotFound:    connect.CodeNotFound,
	fencing.ReasonPoolExists:      connect.CodeAlreadyExists,
	fencing.ReasonNoFreeNodeID:    connect.CodeResourceExhausted,
	fencing.ReasonQueueFull:       connect.CodeResourceExhausted,
	fencing.ReasonLeaseLost:       connect.CodeFailedPrecondition,
	fencing.ReasonForbidden:       connect.CodeFailedPrecondition,
	fencing.ReasonTooManyPools:    connect.CodeResourceExhausted,
	fencing.ReasonLayoutExhausted: connect.CodeFailedPrecondition,
	fencing.ReasonNotOpened:       connect.CodeUnavailable,
	fencing.ReasonStoreFailed:     connect.CodeUnavailable,
	reasonStopping:                connect.CodeUnavailable,
	reasonTooBehind:               connect.CodeResourceExhausted,
	reasonTooMany:                 connect.CodeResourceExhausted,
	reasonBadOrigin:               connect.CodePermissionDenied,
	reasonBadHost:                 connect.CodePermissionDenied,
	reasonStoreSlow:               connect.CodeUnavailable,
	reasonNoLeader:                connect.CodeUnavailable,
	reasonNotLeader:               connect.CodeUnavailable,
	reasonWrongStore:              connect.CodeUnavailable,
	reasonNotConfirmed:            connect.CodeUnavailable,
}

// errStopping is what a request gets that the end of the service cuts short.
var errStopping = &fencing.Refusal{
	Reason:     reasonStopping,
	Message:    "this server is shutting down: ask again in a moment, it or another one will answer",
	RetryAfter: time.Second,
}

// errStoreSlow is what a request gets that has waited for the store for
// writePatience. What it asked for may be done later.
var errStoreSlow = &fencing.Refusal{
	Reason:     reasonStoreSlow,
	Message:    "the store has not acknowledged in time what this answer rests on: ask again in a moment",
	RetryAfter: time.Second,
}

// What a request gets where several replicas share a store.
var (
	errNoLeader = &fencing.Refusal{
		Reason:     reasonNoLeader,
		Message:    "no replica leads just now, or the one that does can't be reached from here: ask again in a moment, or another replica",
		RetryAfter: time.Second,
	}
	errNotLeading = &fencing.Refusal{
		Reason:     reasonNotLeader,
		Message:    "this replica does not lead, or not any more: ask again in a moment, it or another one will answer",
		RetryAfter: retrySoon,
	}
	errUnknown = &fencing.Refusal{
		Reason:     reasonNoLeader,
		Message:    "the way to the replica that leads broke, so it is not known whether this was done: look, and ask again if it was not",
		RetryAfter: time.Second,
	}
	errWrongStore = &fencing.Refusal{
		Reason:  reasonWrongStore,
		Message: "the replica that passed this request on serves another store than the one that it reached: give each replica an address of its own to advertise, and all replicas of one service the same store",
	}
	errNotConfirmed = &fencing.Refusal{
		Reason:     reasonNotConfirmed,
		Message:    "the store could not be asked whether this replica still leads, so it doesn't say no: ask again in a moment",
		RetryAfter: time.Second,
	}
)

// retrySoon is when to ask again what another replica may answer at once.
const retrySoon = 100 * time.Millisecond

// badField is a refusal of a field that never reached the rules.
func badField(field, sentence string) *fencing.Refusal {
	return &fencing.Refusal{Reason: fencing.ReasonInvalid, Field: field, Message: field + ": " + sentence}
}

// refusal counts and logs a refusal where it is made, and passes it on.
func (s *Service) refusal(r *fencing.Refusal) error {
	s.metrics.refusals.WithLabelValues(string(r.Reason)).Inc()
	if r.MadeUp {
		s.metrics.madeUp.Inc()
	}
	return r
}

// counted counts a refusal as it leaves that is not counted where it is made:
// there, it may only send the request elsewhere.
func (s *Service) counted(err error) error {
	var r *fencing.Refusal
	if errors.As(err, &r) && (r.Reason == reasonStopping || r.Reason == reasonNotLeader) {
		s.metrics.refusals.WithLabelValues(string(r.Reason)).Inc()
	}
	return err
}

// storeFailed is what every request gets after a failed write.
func (s *Service) storeFailed() error {
	r := &fencing.Refusal{
		Reason:  fencing.ReasonStoreFailed,
		Message: "the store failed, so it is not known whether this was done: ask again once the server is back",
	}
	if s.cfg.Cluster != nil { // which comes back by itself
		r.RetryAfter = time.Second
	}
	return s.refusal(r)
}

// alive refuses once the term is over, where the answer could be one that the
// core is not asked for.
func (t *term) alive() error {
	select {
	case <-t.over:
		return t.isOver()
	default:
		return nil
	}
}

// isOver is what requests get once the term is over.
func (t *term) isOver() error {
	if t.s.cfg.Cluster != nil {
		return errNotLeading
	}
	return t.s.storeFailed()
}

// refused is how a refusal by the rules leaves. It rests on what the store
// holds, so it is one only if this term may still say so (S3, S10).
func (w *writeWait) refused(ctx context.Context, r *fencing.Refusal) error {
	t := w.t
	if r.Reason == fencing.ReasonStoreFailed {
		return t.ruling(r, nil)
	}
	t.noticeLost(lostBy(r))
	return t.ruling(r, w.confirm(ctx))
}

// refused is that of a request that has not waited for the store.
func (t *term) refused(ctx context.Context, r *fencing.Refusal) error {
	return (&writeWait{t: t}).refused(ctx, r)
}

// ruling is refused once Confirm has said its word.
func (t *term) ruling(r *fencing.Refusal, unsure error) error {
	switch {
	case r.Reason == fencing.ReasonStoreFailed && t.s.cfg.Cluster != nil:
		return errNotLeading // the term is over, and nothing was done
	case unsure == nil:
		return t.s.refusal(r)
	}
	return unsure
}

// toWire turns what a handler ends with into what goes over the wire.
func toWire(err error) error {
	var r *fencing.Refusal
	var wired *connect.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wired): // with what it says beside its message
		return err
	case errors.As(err, &r):
		return wireRefusal(r)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, errors.New("the request's deadline passed before there was an answer: ask again, with more time"))
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, errors.New("the request was cancelled"))
	}
	return err
}

// ConfirmedBy is the key in the metadata of an ErrorInfo that says which field of
// the request would confirm what is refused (S11).
const ConfirmedBy = "confirmed_by"

func wireRefusal(r *fencing.Refusal) *connect.Error {
	e := connect.NewError(codes[r.Reason], r)
	info := &errdetails.ErrorInfo{Reason: string(r.Reason), Domain: errorDomain}
	if r.ConfirmedBy != "" {
		info.Metadata = map[string]string{ConfirmedBy: r.ConfirmedBy}
	}
	addDetail(e, info)
	if r.RetryAfter > 0 {
		addDetail(e, &errdetails.RetryInfo{RetryDelay: durationpb.New(r.RetryAfter)})
	}
	if r.Field != "" {
		addDetail(e, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: r.Field, Description: r.Message},
		}})
	}
	return e
}

// reasonOf is the reason that an error gives, or "".
func reasonOf(err error) fencing.Reason {
	var r *fencing.Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	var wired *connect.Error
	if !errors.As(err, &wired) || wired.Code() != connect.CodeUnavailable {
		return ""
	}
	for _, d := range wired.Details() {
		if v, err := d.Value(); err == nil {
			if info, ok := v.(*errdetails.ErrorInfo); ok {
				return fencing.Reason(info.Reason)
			}
		}
	}
	return ""
}

// addDetail adds what machines read. A detail that can't be encoded is left
// out: the sentence says the same.
func addDetail(e *connect.Error, msg proto.Message) {
	if d, err := connect.NewErrorDetail(msg); err == nil {
		e.AddDetail(d)
	}
}

// batchError is an error as one result of a batch carries it.
func batchError(err error) *cirrusv1.HeartbeatError {
	wired := toWire(err)
	e := &cirrusv1.HeartbeatError{Code: connect.CodeOf(wired).String(), Message: wired.Error()}
	var r *fencing.Refusal
	if errors.As(err, &r) {
		e.Reason, e.Message = string(r.Reason), r.Message
	}
	return e
}
