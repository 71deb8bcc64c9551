package service

import (
	"errors"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/fencing"
)

// wanted is the error that a request should get.
type wanted struct {
	code   connect.Code
	reason fencing.Reason // "": no ErrorInfo, the error is not the service's own
	field  string         // "": no BadRequest
	retry  bool           // whether there is a RetryInfo
	words  string         // what the sentence must have in it
}

var (
	lostLease    = wanted{code: connect.CodeFailedPrecondition, reason: fencing.ReasonLeaseLost}
	storeDown    = wanted{code: connect.CodeUnavailable, reason: fencing.ReasonStoreFailed}
	shuttingDown = wanted{code: connect.CodeUnavailable, reason: reasonStopping, retry: true}
	noFree       = wanted{code: connect.CodeResourceExhausted, reason: fencing.ReasonNoFreeNodeID,
		retry: true}
)

func badInput(field string) wanted {
	return wanted{code: connect.CodeInvalidArgument, reason: fencing.ReasonInvalid, field: field}
}

// check compares an error with what was wanted: code, details, and one
// sentence that says what to do.
func (w wanted) check(t testing.TB, what string, err error) {
	t.Helper()
	var e *connect.Error
	if !errors.As(err, &e) {
		t.Fatalf("%s: got %v, want an error of code %v", what, err, w.code)
	}
	if e.Code() != w.code {
		t.Fatalf("%s: got code %v (%v), want %v", what, e.Code(), e, w.code)
	}
	checkSentence(t, what, e.Message())
	if !strings.Contains(e.Message(), w.words) {
		t.Errorf("%s: %q does not say %q", what, e.Message(), w.words)
	}
	info, retry, bad := details(t, e)
	w.checkInfo(t, what, info)
	switch {
	case w.retry && retry.GetRetryDelay().AsDuration() <= 0:
		t.Errorf("%s: got RetryInfo %v, want a time above 0", what, retry)
	case !w.retry && retry != nil:
		t.Errorf("%s: got RetryInfo %v, want none", what, retry)
	}
	violations := bad.GetFieldViolations()
	switch {
	case w.field == "" && bad != nil:
		t.Errorf("%s: got %v, want no BadRequest", what, bad)
	case w.field != "" && (len(violations) != 1 || violations[0].Field != w.field ||
		violations[0].Description == ""):
		t.Errorf("%s: got violations %v, want one of %q", what, violations, w.field)
	}
}

func (w wanted) checkInfo(t testing.TB, what string, info *errdetails.ErrorInfo) {
	t.Helper()
	switch {
	case w.reason == "" && info != nil:
		t.Errorf("%s: got %v, want no ErrorInfo", what, info)
	case w.reason != "" && (info.GetReason() != string(w.reason) || info.GetDomain() != "cirrus"):
		t.Errorf("%s: got %v, want reason %s of domain cirrus", what, info, w.reason)
	}
}

// checkSentence: one line, short enough for a header, and with a part that
// says what to do.
func checkSentence(t testing.TB, what, message string) {
	t.Helper()
	if len(message) < 15 || len(message) > 500 || strings.ContainsAny(message, "\n\r\t") {
		t.Errorf("%s: %q is no sentence", what, message)
	}
}

// details takes an error's details apart; what is absent is nil.
func details(t testing.TB, e *connect.Error) (info *errdetails.ErrorInfo,
	retry *errdetails.RetryInfo, bad *errdetails.BadRequest) {
	t.Helper()
	for _, d := range e.Details() {
		msg, err := d.Value()
		if err != nil {
			t.Fatal(err)
		}
		switch msg := msg.(type) {
		case *errdetails.ErrorInfo:
			info = msg
		case *errdetails.RetryInfo:
			retry = msg
		case *errdetails.BadRequest:
			bad = msg
		default:
			t.Errorf("an unknown detail: %v", msg)
		}
	}
	return info, retry, bad
}

// retryAfter is what an error's RetryInfo says.
func retryAfter(t testing.TB, err error) time.Duration {
	t.Helper()
	var e *connect.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no error of a call", err)
	}
	_, retry, _ := details(t, e)
	return retry.GetRetryDelay().AsDuration()
}

func proto3(d time.Duration) *durationpb.Duration { return durationpb.New(d) }
