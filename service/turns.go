package service

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// Work that takes a processor for longer than a heartbeat does is done in turns
// (S14): if it had all processors, heartbeats would wait for as long as there is
// some of it, since Go looks for what has come over the network when it has
// nothing else to do. Reading from a connection and writing to one are no part
// of a turn: whoever is at the other end could hold it up.
const (
	// turnBytes is the size from which a request is decoded in a turn, as one is
	// that is compressed: its size tells nothing.
	turnBytes = 8 << 10
	// turnPatience is how long one waits for a turn. Then it goes ahead, so that
	// no mistake in who ends a turn stops the service.
	turnPatience = 2 * time.Second
)

// turns are as many as there are processors, less one, but one at least. Nobody
// who has one waits for another, for the store or for a peer.
type turns chan struct{}

func newTurns() turns { return make(turns, max(runtime.GOMAXPROCS(0)-1, 1)) }

// turn is a request's place in the turns.
type turn struct {
	turns turns
	clock clockwork.Clock
	held  bool
	// wired: the reply goes over a connection, and is made after the handler has
	// returned.
	wired bool
}

type turnKey struct{}

// turn is the one of a request.
func (s *Service) turn(ctx context.Context) *turn {
	if t, ok := ctx.Value(turnKey{}).(*turn); ok {
		return t
	}
	return &turn{turns: s.turns, clock: s.cfg.Clock}
}

// endTurn ends the one of a request, if it has one.
func endTurn(ctx context.Context) {
	if t, ok := ctx.Value(turnKey{}).(*turn); ok {
		t.end()
	}
}

// take waits for a turn, unless the request has it. An error is ctx's.
func (t *turn) take(ctx context.Context) error {
	if t.held {
		return nil
	}
	select {
	case t.turns <- struct{}{}:
		t.held = true
		return nil
	default:
	}
	// Never so in a simulator, where nobody is interrupted in his turn.
	timer := t.clock.NewTimer(turnPatience)
	defer timer.Stop()
	select {
	case t.turns <- struct{}{}:
		t.held = true
	case <-timer.Chan():
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// end gives the turn to the next one.
func (t *turn) end() {
	if t.held {
		t.held = false
		<-t.turns
	}
}

// made ends the turn in which a reply was made, unless it has to be encoded yet:
// that takes longer than to make it.
func (t *turn) made() {
	if !t.wired {
		t.end()
	}
}

// inTurns lets large requests be decoded, and large replies be encoded, in a
// turn: encoding ends where writing begins.
func (s *Service) inTurns(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := &turn{turns: s.turns, clock: s.cfg.Clock, wired: true}
		ctx := context.WithValue(r.Context(), turnKey{}, t)
		switch r.URL.Path {
		case cirrusv1connect.AdminServiceListLeasesProcedure, cirrusv1connect.AdminServiceWatchProcedure:
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

// compressed reports whether the message of a request may be compressed, as the
// request's protocol tells.
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

// bodies are buffers for requests, to be used again.
var bodies = sync.Pool{New: func() any { return &bytes.Buffer{} }}

func giveBack(b *bytes.Buffer) {
	b.Reset()
	bodies.Put(b)
}

// body is one that has been read; what ended the reading comes at its end.
type body struct {
	io.Reader
	io.Closer
}

// read reads a request's body as far as it may be of use.
func read(from io.ReadCloser, into *bytes.Buffer) io.ReadCloser {
	const most = MaxRequestBytes + 64 // what frames it, too
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

// failedReader fails as the reading did that it stands for.
type failedReader struct{ err error }

// Read implements io.Reader.
func (r failedReader) Read([]byte) (int, error) { return 0, r.err }
