package service

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	dto "github.com/prometheus/client_model/go"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/snowflake"
)

// watching is a stream of Watch that is read beside the test.
type watching struct {
	b      *bubble
	cancel context.CancelFunc
	mu     sync.Mutex
	lines  []string
	raw    []*cirrusv1.WatchResponse
	over   bool
	end    error
}

// watch begins to watch a pool, and has read what is present when it returns.
func (b *bubble) watch(pool string) *watching {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b.t.Cleanup(cancel)
	w := &watching{b: b, cancel: cancel}
	go func() {
		stream, err := b.admin.Watch(ctx, &cirrusv1.WatchRequest{Pool: pool})
		for err == nil && stream.Receive() {
			w.add(stream.Msg())
		}
		if err == nil {
			err = stream.Err()
			stream.Close()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.over, w.end = true, err
	}()
	b.settle()
	return w
}

func (w *watching) add(msg *cirrusv1.WatchResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, line(msg))
	w.raw = append(w.raw, msg)
}

// line is an event as a test writes it: "EXPIRED app quarantined".
func line(msg *cirrusv1.WatchResponse) string {
	event := strings.TrimPrefix(msg.Event.String(), "EVENT_")
	if msg.Lease == nil {
		return event
	}
	state := strings.ToLower(strings.TrimPrefix(msg.Lease.State.String(), "LEASE_STATE_"))
	text := fmt.Sprintf("%s %s %s", event, msg.Lease.AppId, state)
	if msg.Lease.Revoked {
		text += " revoked"
	}
	return text
}

// sees compares the events that came since the last look.
func (w *watching) sees(t testing.TB, want ...string) {
	t.Helper()
	w.b.settle()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.lines, want) {
		t.Errorf("the watcher saw %q, want %q", w.lines, want)
	}
	w.lines = nil
}

// err is what a stream that must be over ended with.
func (w *watching) err(t testing.TB) error {
	t.Helper()
	w.b.settle()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over || w.end == nil {
		t.Fatalf("the stream goes on, or ended without an error (%v): saw %q", w.over, w.lines)
	}
	return w.end
}

// nodes gives a pool so many node IDs.
func nodes(n int) func(*fencing.Pool) {
	return func(p *fencing.Pool) { p.Last = p.First + snowflake.NodeID(n-1) }
}

func (b *bubble) createPool(name string, n int) {
	b.t.Helper()
	_, err := b.admin.CreatePool(context.Background(), &cirrusv1.CreatePoolRequest{
		Pool: &cirrusv1.Pool{Name: name, NodeIds: &cirrusv1.NodeRange{Last: uint32(n - 1)}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bubble) acquiredIn(pool, word string) *cirrusv1.Lease {
	b.t.Helper()
	c := b.acquireIn(pool, word, 0)
	b.settle()
	return c.done(b.t, word).Lease
}

func (b *bubble) heartbeatDone(l *cirrusv1.Lease) *cirrusv1.Lease {
	b.t.Helper()
	c := b.heartbeat(l)
	b.settle()
	return c.done(b.t, "a heartbeat of "+l.AppId).Lease
}

// logged counts the lines of the log that have the words in them.
func (b *bubble) logged(words string) int { return strings.Count(b.log.String(), words) }

// metric is the sum of a metric's values over its labels that match.
func (b *bubble) metric(name string, labels ...string) float64 {
	b.t.Helper()
	return metricOf(b.t, b.s, name, labels...)
}

func metricOf(t testing.TB, s *Service, name string, labels ...string) (sum float64) {
	t.Helper()
	families, err := s.registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			if hasLabels(m, labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func hasLabels(m *dto.Metric, values []string) bool {
	for _, v := range values {
		if !slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetValue() == v }) {
			return false
		}
	}
	return true
}

var tooBehind = wanted{code: connect.CodeResourceExhausted, reason: reasonTooBehind}

// One remote address has a share of the streams of Watch, and gets it back as
// they end.
func TestWatchesOfOneAddress(t *testing.T) {
	h := newHost(t, nil)
	handler := h.s.Handler()
	type watching struct {
		leave func()
		done  chan string
	}
	watch := func(from string, header http.Header) *watching {
		ctx, cancel := context.WithCancel(context.Background())
		r := httptest.NewRequest(http.MethodPost, watchPath,
			bytes.NewReader(envelope(0, 2, []byte("{}")))).WithContext(ctx)
		r.Header = header
		r.Header.Set("Content-Type", "application/connect+json")
		r.RemoteAddr = from
		synced := &syncedWriter{ResponseRecorder: httptest.NewRecorder(),
			synced: make(chan struct{})}
		w := &watching{cancel, make(chan string, 1)}
		go func() {
			handler.ServeHTTP(synced, r)
			w.done <- synced.Body.String()
			close(w.done)
		}()
		t.Cleanup(func() {
			cancel()
			for range w.done { // until the handler has ended
			}
		})
		select {
		case <-synced.synced:
			return w
		case text := <-w.done:
			if !strings.Contains(text, string(reasonTooMany)) {
				t.Errorf("a Watch ended with %s", text)
			}
			return nil
		}
	}
	var open []*watching
	for i := range maxWatchesPerAddress {
		w := watch(fmt.Sprintf("192.0.2.1:%d", 1000+i), http.Header{})
		if w == nil {
			t.Fatalf("stream %d was refused", i)
		}
		open = append(open, w)
	}
	if watch("192.0.2.1:1", http.Header{}) != nil {
		t.Error("an address got more than its share")
	}
	for _, other := range []string{"192.0.2.2:1", "127.0.0.1:1"} {
		if watch(other, http.Header{}) == nil {
			t.Errorf("%s was refused", other)
		}
	}
	if watch("192.0.2.1:1", http.Header{memberHeader: {"b"}}) != nil {
		t.Error("an address got more than its share by a header, where there are no replicas")
	}
	open[0].leave()
	<-open[0].done
	if watch("192.0.2.1:1", http.Header{}) == nil {
		t.Error("no stream was let in after another one's end")
	}
}

// syncedWriter says when a stream has told all that is present.
type syncedWriter struct {
	*httptest.ResponseRecorder
	once   sync.Once
	synced chan struct{}
}

func (w *syncedWriter) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("EVENT_SYNCED")) {
		w.once.Do(func() { close(w.synced) })
	}
	return w.ResponseRecorder.Write(b)
}
