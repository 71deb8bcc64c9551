package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

func healthClient(c *http.Client, url, procedure string,
	opts ...connect.ClientOption) *connect.Client[healthv1.HealthCheckRequest,
	healthv1.HealthCheckResponse] {
	return connect.NewClient[healthv1.HealthCheckRequest, healthv1.HealthCheckResponse](c,
		url+procedure, opts...)
}

// Health answers for each service that there is, by gRPC and without.
func TestHealthCheck(t *testing.T) {
	h := newHost(t, nil)
	ctx := context.Background()
	for _, c := range []*connect.Client[healthv1.HealthCheckRequest, healthv1.HealthCheckResponse]{
		healthClient(h.h2, h.url, healthCheckProcedure, connect.WithGRPC()),
		healthClient(h.h1, h.url, healthCheckProcedure, connect.WithProtoJSON()),
	} {
		for _, name := range []string{"", healthName, cirrusv1connect.LeaseServiceName,
			cirrusv1connect.AdminServiceName} {
			resp, err := c.CallUnary(ctx,
				connect.NewRequest(&healthv1.HealthCheckRequest{Service: name}))
			if err != nil || resp.Msg.Status != healthv1.HealthCheckResponse_SERVING {
				t.Errorf("health of %q: %v, %v", name, resp, err)
			}
		}
		for _, name := range []string{"cirrus.v2.LeaseService", letters(100_000)} {
			_, err := c.CallUnary(ctx,
				connect.NewRequest(&healthv1.HealthCheckRequest{Service: name}))
			wanted{code: connect.CodeNotFound}.check(t, "an unknown service", err)
		}
	}
}

// healthWatch is a health stream that is read beside the test.
func (b *bubble) healthWatch(name string) *call[string] {
	return start(func(ctx context.Context) (string, error) {
		stream, err := healthClient(b.http, "http://cirrus",
			healthWatchProcedure).CallServerStream(ctx,
			connect.NewRequest(&healthv1.HealthCheckRequest{Service: name}))
		if err != nil {
			return "", err
		}
		defer stream.Close()
		var seen []string
		for stream.Receive() {
			seen = append(seen, stream.Msg().Status.String())
		}
		return strings.Join(seen, " "), stream.Err()
	})
}

// A health stream tells the end of the service, whichever it is.
func TestHealthWatch(t *testing.T) {
	for name, end := range map[string]func(b *bubble){
		"shutdown": func(b *bubble) { b.s.StopRequests() },
		"failure":  func(b *bubble) { b.store.failWith(errDisk); b.acquire("a", 0) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, bubbleOptions{}, func(b *bubble) {
				known, unknown, left := b.healthWatch(""), b.healthWatch("what"), b.healthWatch("")
				b.pass(time.Hour)
				known.waits(t, "a health stream")
				left.cancel()
				if got := b.probe("/readyz"); got != "200 ok" {
					t.Errorf("/readyz says %s", got)
				}
				end(b)
				b.settle()
				if got := known.done(t, "the stream"); got != "SERVING NOT_SERVING" {
					t.Errorf("the stream said %s", got)
				}
				if got := unknown.done(t, "the stream"); !strings.HasPrefix(got,
					"SERVICE_UNKNOWN") {
					t.Errorf("the stream of an unknown service said %s", got)
				}
				if got := b.probe("/readyz"); got != "503 not serving" {
					t.Errorf("/readyz says %s", got)
				}
				if got := b.probe("/livez"); got != "200 ok" {
					t.Errorf("/livez says %s", got)
				}
			})
		})
	}
}

// A health stream tells that the mark is overdue, and that it no longer is, which
// nothing but time brings about.
func TestHealthWatchTellsOverdueMark(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		watch := b.healthWatch("")
		b.store.holdIf(anyMark)
		b.pass(fencing.DefaultStride + 2*StateEvery)
		b.store.holdIf(nil)
		b.store.letAll()
		b.pass(2 * StateEvery)
		b.s.StopRequests()
		b.settle()
		if got := watch.done(t, "the stream"); got != "SERVING NOT_SERVING SERVING NOT_SERVING" {
			t.Errorf("the stream said %s", got)
		}
	})
}

func (b *bubble) probe(path string) string { return probe(b.s, path) }

func probe(s *Service, path string) string {
	w := httptest.NewRecorder()
	s.MetricsHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return fmt.Sprintf("%d %s", w.Code, strings.TrimSpace(w.Body.String()))
}

// After a failed write, health says so instead of failing.
func TestHealthAfterFailure(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		b.store.failWith(errDisk)
		b.acquire("a", 0)
		b.settle()
		resp, err := healthClient(b.http, "http://cirrus",
			healthCheckProcedure).CallUnary(context.Background(),
			connect.NewRequest(&healthv1.HealthCheckRequest{}))
		if err != nil || resp.Msg.Status != healthv1.HealthCheckResponse_NOT_SERVING {
			t.Errorf("health says %v, %v", resp, err)
		}
	})
}

// A store that takes not even the first mark is not served.
func TestFirstMarkMustBeWritten(t *testing.T) {
	st := newTestStore(newBatch(t, theDay, true, nil))
	st.failWith(errDisk)
	h := newHost(t, nil) // for its clock
	_, err := New(context.Background(),
		Config{Store: st, Clock: h.clock, Steady: fakeSteady{h.clock, theDay}, Logger: h.s.log})
	if !errors.Is(err, errDisk) {
		t.Errorf("New says %v", err)
	}
	if _, err := New(context.Background(), Config{Store: st}); err == nil {
		t.Error("New takes a Config without a steady clock")
	}
	if _, err := New(context.Background(),
		Config{Store: st, Clock: h.clock, Steady: fakeSteady{h.clock, theDay},
			Stride: time.Millisecond}); err == nil {
		t.Error("New takes a stride of 1 ms")
	}
}

// versionClient asks for one version of reflection, whichever is meant.
type versionClient struct {
	*http.Client
	version string
}

func (c *versionClient) Do(r *http.Request) (*http.Response, error) {
	for _, v := range []string{"v1", "v1alpha"} {
		r.URL.Path = strings.Replace(r.URL.Path, "."+v+".", "."+c.version+".", 1)
	}
	return c.Client.Do(r)
}

// Reflection shows the services and the files that describe them, in both
// versions of its protocol.
func TestReflection(t *testing.T) {
	h := newHost(t, nil)
	client := &versionClient{Client: h.h2}
	for _, version := range []string{"v1", "v1alpha"} {
		client.version = version
		ctx, cancel := context.WithCancel(context.Background())
		stream := grpcreflect.NewClient(client, h.url, connect.WithGRPC()).NewStream(ctx)
		names, err := stream.ListServices()
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(
			names); got != "[cirrus.v1.LeaseService cirrus.v1.AdminService grpc.health.v1.Health]" {
			t.Errorf("the services are %s", got)
		}
		for _, name := range names {
			if files, err := stream.FileContainingSymbol(name); err != nil || len(files) == 0 {
				t.Errorf("the file of %s: %v", name, err)
			}
		}
		cancel()
		stream.Close()
	}
}

// The metrics are named as Prometheus wants them, and count what happens.
func TestMetrics(t *testing.T) {
	h := newHost(t, nodes(4))
	ctx := context.Background()
	p := h.protocols()[1]
	one := must(p.leases.Acquire(ctx, acquireRequest("", "one", 0))).Lease
	two := must(p.leases.Acquire(ctx, acquireRequest("", "two", 0))).Lease
	must(p.leases.Heartbeat(ctx, heartbeatRequest(one)))
	must(p.leases.Release(ctx, releaseRequest(two, nil)))
	must(p.leases.HeartbeatBatch(ctx,
		&cirrusv1.HeartbeatBatchRequest{Heartbeats: []*cirrusv1.HeartbeatRequest{heartbeatRequest(
			one), heartbeatRequest(two)}}))
	h.s.cfg.DiskSpace = func() (free, size uint64, known bool) { return 3, 7, true }
	for _, c := range []struct {
		name, label string
		want        float64
	}{
		{"cirrus_node_ids", "held", 1}, {"cirrus_node_ids", "quarantined", 1}, {"cirrus_node_ids", "free", 2},
		{"cirrus_grants_total", "default", 2}, {"cirrus_heartbeats_total", "default", 2},
		{"cirrus_refusals_total", string(fencing.ReasonLeaseLost), 1},
		{"cirrus_next_free_seconds", "default", 30.001}, {"cirrus_waiting_requests", "default", 0},
		{"cirrus_pool_opened", "default", 1}, {"cirrus_mark_ahead_seconds", "", 10}, {"cirrus_clock_alarm", "", 0},
		{"cirrus_store_disk_free_bytes", "", 3}, {"cirrus_store_disk_size_bytes", "", 7},
	} {
		labels := []string{c.label}
		if c.label == "" {
			labels = nil
		}
		if got := metricOf(t, h.s, c.name, labels...); got != c.want {
			t.Errorf("%s of %q is %v, want %v", c.name, c.label, got, c.want)
		}
	}
	problems, err := promlint.NewWithMetricFamilies(must(h.s.registry().Gather())).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	if got := probe(h.s, "/metrics"); !strings.Contains(got, "cirrus_store_write_seconds_bucket") ||
		!strings.HasPrefix(got, "200") {
		t.Errorf("/metrics answers %.300s", got)
	}
}

// noRandom has none to give, which is one way to make a handler panic.
type noRandom struct{}

func (noRandom) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A panic in a handler is logged and answered INTERNAL; the process goes on.
func TestPanicIsContained(t *testing.T) {
	h := newHostWith(t, true, nil, noRandom{})
	for _, p := range h.protocols() {
		_, err := p.leases.Acquire(context.Background(), &cirrusv1.AcquireRequest{AppId: "a"})
		wanted{code: connect.CodeInternal, words: "report it"}.check(t, p.name, err)
	}
	if got := strings.Count(h.log.String(), "a handler panicked"); got != len(h.protocols()) {
		t.Errorf("logged %d panics, want %d:\n%s", got, len(h.protocols()), h.log)
	}
	if !strings.Contains(h.log.String(), "newInstance") ||
		!strings.Contains(h.log.String(), cirrusv1connect.LeaseServiceAcquireProcedure) {
		t.Errorf("the log does not say where:\n%s", h.log)
	}
	must(h.protocols()[0].leases.Acquire(context.Background(), acquireRequest("", "goes-on", 0)))
}

// A panic in the middle of the rules keeps no lock, and ends the term (S9).
func TestPanicInRulesEndsTheTerm(t *testing.T) {
	h := newHost(t, nil)
	func() {
		defer func() { _ = recover() }()
		w := storeWait{t: h.s.state.Load().term}
		_, _ = w.carryOut(context.Background(),
			func(fencing.Now) (fencing.Decision, *fencing.Refusal) { panic("a rule") }, w.nextWrite)
	}()
	if !h.s.state.Load().term.mu.TryLock() {
		t.Fatal("the core is locked for ever")
	}
	h.s.state.Load().term.mu.Unlock()
	select {
	case <-h.s.Failed():
	default:
		t.Error("the service goes on with half a decision in its memory")
	}
	for _, p := range h.protocols() {
		_, err := p.leases.Acquire(context.Background(), acquireRequest("", "after", 0))
		storeDown.check(t, p.name, err)
	}
	if err := h.s.Err(); err == nil || !strings.Contains(err.Error(), "a rule") {
		t.Errorf("the service failed because of %v, want the panic", err)
	}
}

// A panic in the rules once a write is durable ends the term, too, and not the
// process, whoever carries the write out (S9).
func TestPanicAfterWriteEndsTheTerm(t *testing.T) {
	h := newHost(t, nil)
	term := h.s.state.Load().term
	w := storeWait{t: term}
	err := w.write(context.Background(),
		&fencing.Write{Batch: fencing.Batch{Records: []fencing.Record{
			{Pool: "no-such-pool", App: "a", Instance: fencing.InstanceHash{1}, Epoch: 1, TTL: time.Second, Status: fencing.Live},
		}}})
	if err == nil || !strings.Contains(err.Error(), "not known whether") {
		t.Errorf("a write that the rules can't take in: got %v, want that it may be done", err)
	}
	select {
	case <-h.s.Failed():
	default:
		t.Error("the service goes on with half a decision in its memory")
	}
	if log := h.log.String(); !strings.Contains(log, "a panic interrupted the rules") ||
		!strings.Contains(log, "recordWritten") {
		t.Errorf("the log does not say where:\n%s", log)
	}
}

// No instance ID leaves the service but to its holder: not in a listing, an
// event, a log or a metric.
func TestInstanceIDIsSecret(t *testing.T) {
	h := newHost(t, nodes(3))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var shown strings.Builder
	var secrets []string
	for _, p := range h.protocols() {
		stream, err := p.admin.Watch(ctx, &cirrusv1.WatchRequest{})
		if err != nil {
			t.Fatal(err)
		}
		stream.Receive()
		given := must(p.leases.Acquire(ctx, acquireRequest("", "given", 0))).Lease
		made := must(p.leases.Acquire(ctx, &cirrusv1.AcquireRequest{AppId: "made"})).Lease
		secrets = append(secrets, given.InstanceId, made.InstanceId)
		must(p.leases.Heartbeat(ctx, heartbeatRequest(made)))
		forgotten := heartbeatRequest(made)
		forgotten.Epoch++
		_, e1 := p.leases.Heartbeat(ctx, forgotten) // an alarm, S12
		bad := heartbeatRequest(made)
		bad.InstanceId += "\x00"
		_, e2 := p.leases.Heartbeat(ctx, bad)
		_, e3 := p.leases.Acquire(ctx,
			&cirrusv1.AcquireRequest{AppId: "", InstanceId: given.InstanceId})
		fmt.Fprintln(&shown, e1, e2, e3)
		fmt.Fprintln(
			&shown, must(p.admin.Revoke(ctx,
				&cirrusv1.RevokeRequest{NodeId: given.NodeId, Epoch: given.Epoch})))
		must(p.leases.Release(ctx, releaseRequest(made, nil)))
		for event := ""; !strings.Contains(event, "RELEASED"); {
			if !stream.Receive() {
				t.Fatal(stream.Err())
			}
			event = stream.Msg().String()
			fmt.Fprintln(&shown, event)
		}
		fmt.Fprintln(&shown, must(p.admin.ListLeases(ctx, &cirrusv1.ListLeasesRequest{})),
			must(p.admin.ListPools(ctx, &cirrusv1.ListPoolsRequest{})))
		stream.Close()
		h.clock.Advance(2 * time.Minute)
		await(t, "the mark to follow",
			func() bool { return metricOf(t, h.s, "cirrus_mark_ahead_seconds") > 0 })
	}
	fmt.Fprintln(&shown, probe(h.s, "/metrics"), h.log.String(), h.dump())
	for _, s := range append(secrets, "s3cr3t") { // and no part of one
		if strings.Contains(shown.String(), s) {
			t.Errorf("the instance ID %q is shown", s)
		}
	}
	if !strings.Contains(h.log.String(), "has lost a write") || len(secrets) != 12 {
		t.Errorf("the run was not what it should be: %d secrets, log\n%s", len(secrets), h.log)
	}
}
