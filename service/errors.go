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

// Reasons that the service gives, not the rules.
const (
	reasonStopping  fencing.Reason = "SHUTTING_DOWN"
	reasonTooBehind fencing.Reason = "WATCH_TOO_FAR_BEHIND"
	reasonTooMany   fencing.Reason = "TOO_MANY_WATCHES"
	reasonBadOrigin fencing.Reason = "ORIGIN_NOT_ALLOWED"
	reasonBadHost   fencing.Reason = "HOST_NOT_ALLOWED"
	reasonStoreSlow fencing.Reason = "STORE_SLOW"
	// Reasons of several replicas.
	reasonNoLeader     fencing.Reason = "NO_LEADER"
	reasonNotLeader    fencing.Reason = "NOT_LEADER"
	reasonWrongStore   fencing.Reason = "WRONG_STORE"
	reasonNotConfirmed fencing.Reason = "NOT_CONFIRMED"
)

// codes maps the reason of a refusal to its code on the wire.
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

// errStopping is the error of a request that the end of the service ends.
var errStopping = &fencing.Refusal{
	Reason:     reasonStopping,
	Message:    "this server is shutting down: ask again in a moment, it or another one will answer",
	RetryAfter: time.Second,
}

// errStoreSlow is the error of a request that has waited for the store for
// storeTimeout. What it asked for may be done later.
var errStoreSlow = &fencing.Refusal{
	Reason:     reasonStoreSlow,
	Message:    "the store has not acknowledged in time what this answer rests on: ask again in a moment",
	RetryAfter: time.Second,
}

// Errors of requests where several replicas share a store.
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
		Message:    "the connection to the replica that leads broke, so it is not known whether this was done: check, and ask again if it was not",
		RetryAfter: time.Second,
	}
	errWrongStore = &fencing.Refusal{
		Reason:  reasonWrongStore,
		Message: "the replica that forwarded this request serves another store than the replica that it reached: give each replica an address of its own to advertise, and all replicas of one service the same store",
	}
	errNotConfirmed = &fencing.Refusal{
		Reason:     reasonNotConfirmed,
		Message:    "the store could not be asked whether this replica still leads, so it doesn't say no: ask again in a moment",
		RetryAfter: time.Second,
	}
)

// retrySoon is the pause before a request is repeated that another replica may
// answer at once.
const retrySoon = 100 * time.Millisecond

// badField refuses a field before the rules see it.
func badField(field, sentence string) *fencing.Refusal {
	return &fencing.Refusal{Reason: fencing.ReasonInvalid, Field: field,
		Message: field + ": " + sentence}
}

// partial is an error of an answer of which a part was sent, so that the request is
// not asked again.
type partial struct{ cause error }

func (p *partial) Error() string { return p.cause.Error() }
func (p *partial) Unwrap() error { return p.cause }

// wireError returns an error as it is sent to the client, and counts it if it is a
// refusal. All errors of requests pass through it or batchError exactly once, as they
// leave: before that a refusal may only send the request to another answerer.
func (s *base) wireError(err error) error {
	var p *partial
	if errors.As(err, &p) {
		err = p.cause
	}
	s.metrics.refused(err)
	return toWire(err)
}

// batchError is wireError for one result of a batch.
func (s *base) batchError(err error) *cirrusv1.HeartbeatError {
	wired := s.wireError(err)
	e := &cirrusv1.HeartbeatError{Code: connect.CodeOf(wired).String(), Message: wired.Error()}
	var r *fencing.Refusal
	if errors.As(err, &r) {
		e.Reason, e.Message = string(r.Reason), r.Message
	}
	return e
}

// storeFailed returns the error of every request after a failed write.
func (s *base) storeFailed() error {
	r := &fencing.Refusal{
		Reason:  fencing.ReasonStoreFailed,
		Message: "the store failed, so it is not known whether this was done: ask again once the server is back",
	}
	if s.cfg.Cluster != nil { // another term starts by itself
		r.RetryAfter = time.Second
	}
	return r
}

// toWire translates an error into one of Connect.
func toWire(err error) error {
	var r *fencing.Refusal
	var wired *connect.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wired): // with the text that wraps it
		return err
	case errors.As(err, &r):
		return wireRefusal(r)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded,
			errors.New(
				"the request's deadline passed before there was an answer: ask again, with more time"))
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, errors.New("the request was cancelled"))
	}
	return err
}

// ConfirmedBy is the key in the metadata of an ErrorInfo that names the field of the
// request that would confirm what is refused (S11).
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
		addDetail(
			e, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: r.Field, Description: r.Message},
			}})
	}
	return e
}

// reasonOf returns the reason that an error gives, or "".
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

// addDetail adds a detail for programs to read. One that can't be encoded is left
// out: the message says the same.
func addDetail(e *connect.Error, msg proto.Message) {
	if d, err := connect.NewErrorDetail(msg); err == nil {
		e.AddDetail(d)
	}
}
