package service

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"

	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// turnBytes is the size from which a request is decoded in a turn. So is every
// compressed one: its size says nothing.
const turnBytes = 8 << 10

// inTurns makes large requests be decoded, and large replies be encoded, in a turn.
// Encoding ends when writing starts.
func (s *Service) inTurns(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := &turn{turns: s.turns, clock: s.cfg.Clock, wired: true}
		ctx := context.WithValue(r.Context(), turnKey{}, t)
		switch r.URL.Path {
		case cirrusv1connect.AdminServiceListLeasesProcedure,
			cirrusv1connect.AdminServiceWatchProcedure:
		case cirrusv1connect.LeaseServiceHeartbeatBatchProcedure:
			b := bodies.Get().(*bytes.Buffer)
			defer giveBack(b)
			r.Body = read(r.Body, b)
			if (b.Len() >= turnBytes || compressed(r)) && t.take(ctx) != nil {
				return // the client has gone
			}
		default:
			next.ServeHTTP(w, r)
			return
		}
		defer t.end()
		next.ServeHTTP(turnWriter{w, t}, r.WithContext(ctx))
	})
}

// compressed reports whether the message of a request may be compressed, according
// to its headers.
func compressed(r *http.Request) bool {
	for _, header := range []string{"Content-Encoding", "Grpc-Encoding"} {
		if coding := r.Header.Get(header); coding != "" && coding != "identity" {
			return true
		}
	}
	return false
}

// turnWriter ends a request's turn when something is written.
type turnWriter struct {
	http.ResponseWriter
	turn *turn
}

// Write implements http.ResponseWriter.
func (w turnWriter) Write(b []byte) (int, error) {
	w.turn.end()
	return w.ResponseWriter.Write(b)
}

// Flush implements http.Flusher, which Connect looks for.
func (w turnWriter) Flush() {
	w.turn.end()
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is for http.ResponseController.
func (w turnWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// bodies are buffers for requests, to be reused.
var bodies = sync.Pool{New: func() any { return &bytes.Buffer{} }}

func giveBack(b *bytes.Buffer) {
	b.Reset()
	bodies.Put(b)
}

// body is a request's body that has been read. The error that ended the reading is
// returned at its end.
type body struct {
	io.Reader
	io.Closer
}

// read reads a request's body up to what the service accepts.
func read(from io.ReadCloser, into *bytes.Buffer) io.ReadCloser {
	const most = MaxRequestBytes + 64 // with the protocol's framing
	n, err := into.ReadFrom(io.LimitReader(from, most))
	all := io.Reader(bytes.NewReader(into.Bytes()))
	switch {
	case err != nil:
		all = io.MultiReader(all, failedReader{err})
	case n == most:
		all = io.MultiReader(all, from)
	}
	return body{all, from}
}

// failedReader returns the error with which the reading of a body failed.
type failedReader struct{ err error }

// Read implements io.Reader.
func (r failedReader) Read([]byte) (int, error) { return 0, r.err }
