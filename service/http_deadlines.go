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

// httpTimes limit how long a client may keep a request from ending (S14). They do not
// limit how long a request waits for its answer.
type httpTimes struct {
	// arrive is how long a request's body may take to arrive after its header: enough
	// for MaxRequestBytes over a slow line.
	arrive time.Duration
	// take is how long a client may leave what was sent unread.
	take time.Duration
}

var defaultTimes = httpTimes{arrive: 10 * time.Second, take: 30 * time.Second}

// conversations are the procedures with a stream of requests. Watch is none: its
// request is one message.
var conversations = map[string]bool{
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      true,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": true,
}

// streams are the procedures with a stream of answers.
var streams = map[string]bool{
	cirrusv1connect.AdminServiceWatchProcedure: true,
	healthWatchProcedure:                       true,
}

// Middleware limits how long a request's body may take to arrive, and how long the
// client may take to read each part of the answer. It does not end a stream on which
// nothing happens. All requests pass through it first: authentication belongs inside
// of it.
func Middleware(next http.Handler) http.Handler { return defaultTimes.middleware(next) }

func (t httpTimes) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{ResponseWriter: w, r: r, rc: http.NewResponseController(w), times: t,
			one: r.ProtoMajor == 1}
		talks := conversations[r.URL.Path]
		x.rests = talks || streams[r.URL.Path]
		if x.rests {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			r, x.cut = r.WithContext(ctx), cancel
		}
		if x.one {
			// The previous request on this connection has set a deadline.
			x.lift()
		}
		if !talks && r.Body != nil && r.Body != http.NoBody {
			x.body = r.Body
			r.Body = (*arrival)(x)
			x.expect()
		}
		// What is buffered is sent after this has returned.
		defer x.hurry()
		next.ServeHTTP(x, r)
	})
}

// exchange is a request and its answer, with the deadlines of both. Setting one fails
// only where there are none, on a recorder in a test.
//
// On HTTP/2 a deadline belongs to the stream, and resets the stream when it passes,
// even if nobody reads or writes. On HTTP/1.1 it belongs to the connection, and
// matters only to reads and writes.
type exchange struct {
	http.ResponseWriter
	r     *http.Request
	rc    *http.ResponseController
	times httpTimes
	body  io.ReadCloser
	// one: it is HTTP/1.1, or older.
	one bool
	// rests: for a long time nothing may be written.
	rests bool
	// cut ends a stream whose client does not read; nil for other requests.
	cut context.CancelFunc
}

// in returns the time after d, by the machine's clock, as deadlines of connections
// need it.
func in(d time.Duration) time.Time { return time.Now().Add(d) } //nolint:forbidigo // nothing of ours is compared with it

// hurry sets the deadline for the client to read what is written.
func (x *exchange) hurry() { _ = x.rc.SetWriteDeadline(in(x.times.take)) }

// lift removes that deadline.
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

// Flush implements http.Flusher. Connect ignores its errors, so a stream that nobody
// reads is ended here.
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

// WriteHeader implements http.ResponseWriter. Connect answers a request that is no
// call with a bare status. Here it gets a message, since curl -s shows nothing else.
func (x *exchange) WriteHeader(status int) {
	text := ""
	if x.Header().Get("Content-Type") == "" {
		text = x.notACall(status)
	}
	if text == "" {
		x.ResponseWriter.WriteHeader(status)
		return
	}
	body, err := json.Marshal(map[string]string{"code": connect.CodeInvalidArgument.String(),
		"message": text})
	if err != nil {
		body = nil // strings can be encoded
	}
	x.Header().Set("Content-Type", "application/json")
	x.ResponseWriter.WriteHeader(status)
	_, _ = x.Write(body) // the client may be gone
}

// notACall returns why a request that is no call gets a status, or "".
func (x *exchange) notACall(status int) string {
	switch status {
	case http.StatusMethodNotAllowed:
		return fmt.Sprintf(
			"%s is not how a procedure is called: send a %s, with the header Content-Type: application/json and the request as JSON, {} if it is empty",
			quoted(x.r.Method), x.Header().Get("Allow"))
	case http.StatusUnsupportedMediaType:
		return fmt.Sprintf(
			"the Content-Type %s is none that this procedure takes: send the request with one of %s",
			quoted(x.r.Header.Get("Content-Type")), x.Header().Get("Accept-Post"))
	}
	return ""
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// expect sets the deadline for the body to arrive. After that net/http removes it on
// HTTP/1.1, where it reads on to notice when the client closes the connection; on
// HTTP/2 it then has no effect.
func (x *exchange) expect() { _ = x.rc.SetReadDeadline(in(x.times.arrive)) }

// arrival is the body of an exchange, as its handler reads it.
type arrival exchange

// Read implements io.Reader. It returns errors of the connection as the error that
// the client gets, if it is still there.
func (a *arrival) Read(b []byte) (int, error) {
	n, err := a.body.Read(b)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF: // never wrapped, by the contract of io.Reader
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, connect.NewError(connect.CodeDeadlineExceeded,
			fmt.Errorf("the request's body had not arrived after %v: send it at once",
				a.times.arrive))
	case a.one && !errors.As(err, &tooLarge):
		return n, connect.NewError(connect.CodeInvalidArgument,
			fmt.Errorf(
				"the request's body is incomplete or malformed: %w; send as much as its Content-Length says, or whole chunks", err))
	}
	return n, err
}

// Close implements io.Closer.
func (a *arrival) Close() error { return a.body.Close() }
