package sim

import (
	"bytes"
	"io"
	"net/http"
	"path"
	"time"

	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
)

// transport is a process's HTTP client.
type transport struct {
	w    *world
	proc *kernel.Process
	late bool // an answer may come although nobody waits any more
	peer bool // it is a replica's, to reach the others
}

// Do implements connect.HTTPClient: it runs on the caller's task.
func (t transport) Do(r *http.Request) (*http.Response, error) {
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return nil, err
	}
	n := t.w.net
	n.calls++
	c := &call{
		w: t.w, number: n.calls, procedure: path.Base(r.URL.Path), from: t.proc, ctx: r.Context(),
		method: r.Method, host: r.URL.Host, path: r.URL.Path, header: r.Header, body: body,
		hit: map[plan.Kind]bool{}, sent: t.proc.Machine.Steady(),
	}
	c.request = readRequest(c.procedure, body)
	if t.peer {
		c.peer, c.parent = true, t.w.serving()
	}
	if c.fromApp() {
		t.w.hear(event.Sent{Call: c.asNews()})
	}
	n.send(c)
	t.w.park(func() bool { return c.answer != nil || c.err != nil || c.ctx.Err() != nil })
	n.close(c)
	late := time.Duration(0)
	if d := t.w.appIndex(t.proc); t.late && t.w.on(plan.LateAnswer) &&
		t.w.fault(plan.LateAnswer, d, 150) {
		late = t.w.dice("late answer", d).Tail(t.w.plan.TTL/2, 3*t.w.plan.TTL)
	}
	return n.finish(c, r, late)
}

// finish is what the client's call returns.
func (n *network) finish(c *call, r *http.Request, late time.Duration) (*http.Response, error) {
	if len(c.hit) > 1 {
		n.w.saw("a call met two kinds of faults")
	}
	if c.answer == nil {
		if c.err != nil {
			return nil, c.err
		}
		n.giveUp(c)
		return nil, c.ctx.Err()
	}
	return &http.Response{
		StatusCode: c.answer.status, Status: http.StatusText(c.answer.status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: c.answer.header.Clone(), Body: &lateBody{bytes.NewReader(c.answer.body), n.w, c,
			late},
		ContentLength: int64(len(c.answer.body)), Request: r,
	}, nil
}

// lateBody is an answer that was received, and is handed on only after a while:
// its caller may have given up by then, and asked again.
type lateBody struct {
	io.Reader
	w    *world
	call *call
	late time.Duration
}

// Close implements io.Closer.
func (b *lateBody) Close() error {
	if b.late > 0 {
		d := b.late
		b.late = 0
		b.w.loop.Sleep(d, "late answer")
		if b.call.ctx.Err() != nil {
			b.w.saw("an answer came after the call was given up")
		}
	}
	return nil
}

// responseWriter takes what a handler answers.
type responseWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *responseWriter) Header() http.Header { return w.header }

func (w *responseWriter) WriteHeader(status int) { w.status = status }

func (w *responseWriter) Write(p []byte) (int, error) { return w.body.Write(p) }
