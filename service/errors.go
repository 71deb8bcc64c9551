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
}

// errStopping is what a request gets that the end of the service cuts short.
var errStopping = &fencing.Refusal{
	Reason:     reasonStopping,
	Message:    "this server is shutting down: ask again in a moment, it or another one will answer",
	RetryAfter: time.Second,
}

// badField is a refusal of a field that never reached the rules.
func badField(field, sentence string) *fencing.Refusal {
	return &fencing.Refusal{Reason: fencing.ReasonInvalid, Field: field, Message: field + ": " + sentence}
}

// refusal counts and logs a refusal where it is made, and passes it on.
func (s *Service) refusal(r *fencing.Refusal) error {
	s.metrics.refusals.WithLabelValues(string(r.Reason)).Inc()
	if r.Forgotten {
		s.metrics.forgotten.Inc()
		s.log.Error("a holder knows of a later grant than the store does, so the store has lost a write: stop, look at the disk, and run `cirrus recover` (S12)", "refusal", r.Message)
	}
	return r
}

// storeFailed is what every request gets after a failed write.
func (s *Service) storeFailed() error {
	return s.refusal(&fencing.Refusal{
		Reason:  fencing.ReasonStoreFailed,
		Message: "the store failed, so it is not known whether this was done: ask again once the server is back",
	})
}

// alive refuses once the store has failed, where the answer could be one that
// the core is not asked for.
func (s *Service) alive() error {
	select {
	case <-s.failed:
		return s.storeFailed()
	default:
		return nil
	}
}

// toWire turns what a handler ends with into what goes over the wire.
func toWire(err error) error {
	var r *fencing.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &r):
		return wireRefusal(r)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, errors.New("the request's deadline passed before there was an answer: ask again, with more time"))
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, errors.New("the request was cancelled"))
	}
	return err
}

func wireRefusal(r *fencing.Refusal) *connect.Error {
	e := connect.NewError(codes[r.Reason], r)
	addDetail(e, &errdetails.ErrorInfo{Reason: string(r.Reason), Domain: errorDomain})
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
