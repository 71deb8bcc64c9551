package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// httpTimes bound for how long the other end of a connection may keep a request
// from ending (S14). How long a request waits for its answer is no part of them.
type httpTimes struct {
	// arrive is how long a request's body may take to arrive, from when its
	// header is there: enough for MaxRequestBytes over a slow line.
	arrive time.Duration
	// take is how long a reader may leave what was written to it untaken.
	take time.Duration
}

var defaultTimes = httpTimes{arrive: 10 * time.Second, take: 30 * time.Second}

// conversations are the procedures whose requests may go on arriving. A Watch
// is none: it asks once.
var conversations = map[string]bool{
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      true,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": true,
}

// streams are the procedures whose answers go on.
var streams = map[string]bool{
	cirrusv1connect.AdminServiceWatchProcedure: true,
	healthWatchProcedure:                       true,
}

// Middleware is what all requests pass through before anything else. It bounds
// how long a request's body may take to arrive, and how long a reader may take
// for each part of the answer; it cuts no stream on which nothing happens.
// Whoever adds authentication adds it inside of it.
func Middleware(next http.Handler) http.Handler { return defaultTimes.middleware(next) }

func (t httpTimes) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{ResponseWriter: w, r: r, rc: http.NewResponseController(w), times: t, one: r.ProtoMajor == 1}
		talks := conversations[r.URL.Path]
		x.rests = talks || streams[r.URL.Path]
		if x.rests {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			r, x.cut = r.WithContext(ctx), cancel
		}
		if x.one {
			// The request before on this connection left its deadline.
			x.lift()
		}
		if !talks && r.Body != nil && r.Body != http.NoBody {
			x.body = r.Body
			r.Body = (*arrival)(x)
			x.expect()
		}
		// What is buffered goes out after this has returned.
		defer x.hurry()
		next.ServeHTTP(x, r)
	})
}

// exchange is a request and its answer, with the deadlines of both. Where
// setting one fails, the connection knows none: a recorder in a test.
//
// On HTTP/2 a deadline belongs to the stream, and resets it when its time has
// come, whether anybody reads or writes or not. On HTTP/1.1 it belongs to the
// connection, and matters only to who reads or writes.
type exchange struct {
	http.ResponseWriter
	r     *http.Request
	rc    *http.ResponseController
	times httpTimes
	body  io.ReadCloser
	// one: it is HTTP/1.1, or older.
	one bool
	// rests: nothing may be written for as long as nothing happens.
	rests bool
	// cut ends a stream whose reader was given up; nil elsewhere.
	cut context.CancelFunc
}

// in is when a time will have passed, by the machine's clock, as deadlines of
// connections go by it.
func in(d time.Duration) time.Time { return time.Now().Add(d) } //nolint:forbidigo // nothing of ours is compared with it

// hurry begins the time that the reader has for what is written.
func (x *exchange) hurry() { _ = x.rc.SetWriteDeadline(in(x.times.take)) }

// lift ends it.
func (x *exchange) lift() { _ = x.rc.SetWriteDeadline(time.Time{}) }

// Write implements http.ResponseWriter.
func (x *exchange) Write(b []byte) (int, error) {
	x.hurry()
	n, err := x.ResponseWriter.Write(b)
	if x.rests {
		x.lift()
	}
	return n, err
}

// Flush implements http.Flusher. Connect looks at no error of it, so a stream
// that nobody reads is ended here.
func (x *exchange) Flush() {
	x.hurry()
	err := x.rc.Flush()
	if x.rests {
		x.lift()
	}
	if err != nil && x.cut != nil && !errors.Is(err, http.ErrNotSupported) {
		x.cut()
	}
}

// WriteHeader implements http.ResponseWriter. Connect turns away with a bare
// status what is no call at all: it gets a sentence, since curl -s shows nothing
// else.
func (x *exchange) WriteHeader(status int) {
	text := ""
	if x.Header().Get("Content-Type") == "" {
		text = x.notACall(status)
	}
	if text == "" {
		x.ResponseWriter.WriteHeader(status)
		return
	}
	body, err := json.Marshal(map[string]string{"code": connect.CodeInvalidArgument.String(), "message": text})
	if err != nil {
		body = nil // strings can be encoded
	}
	x.Header().Set("Content-Type", "application/json")
	x.ResponseWriter.WriteHeader(status)
	_, _ = x.Write(body) // it may be gone
}

// notACall says why a status was given to a request that is no call, or "".
func (x *exchange) notACall(status int) string {
	switch status {
	case http.StatusMethodNotAllowed:
		return fmt.Sprintf("%s is not how a procedure is called: send a %s, with the header Content-Type: application/json and the request as JSON, {} if there is nothing to say",
			quoted(x.r.Method), x.Header().Get("Allow"))
	case http.StatusUnsupportedMediaType:
		return fmt.Sprintf("the Content-Type %s is none that this procedure takes: send the request with one of %s",
			quoted(x.r.Header.Get("Content-Type")), x.Header().Get("Accept-Post"))
	}
	return ""
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// expect begins the time that the body has to arrive. When it has, net/http
// lifts the deadline on HTTP/1.1, where it goes on reading to notice when the
// client hangs up; on HTTP/2 it then matters to nobody.
func (x *exchange) expect() { _ = x.rc.SetReadDeadline(in(x.times.arrive)) }

// arrival is an exchange's body, as its handler reads it.
type arrival exchange

// Read implements io.Reader. Errors of the connection come as the refusal that
// the client gets, if it is still there.
func (a *arrival) Read(b []byte) (int, error) {
	n, err := a.body.Read(b)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF: // as it is, and never wrapped, by the contract of io.Reader
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, connect.NewError(connect.CodeDeadlineExceeded,
			fmt.Errorf("the request's body had not arrived after %v: send it at once", a.times.arrive))
	case a.one && !errors.As(err, &tooLarge):
		return n, connect.NewError(connect.CodeInvalidArgument,
			fmt.Errorf("the request's body is broken off or malformed: %w; send as much as its Content-Length says, or whole chunks", err))
	}
	return n, err
}

// Close implements io.Closer.
func (a *arrival) Close() error { return a.body.Close() }
