package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/client"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/snowflake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ttl   = 30 * time.Second
	every = ttl / 3
)

// fakeService is a LeaseService that grants node IDs 100, 101, … with epochs 1,
// 2, … and can be made to misbehave.
type fakeService struct {
	mixUp bool // answers carry another instance's ID
	cirrusv1connect.UnimplementedLeaseServiceHandler

	now func() time.Time
	ttl time.Duration

	mu       sync.Mutex
	leases   map[string]*cirrusv1.Lease // by instance
	lost     map[string]bool
	acquires []*cirrusv1.AcquireRequest
	beats    int
	releases []*cirrusv1.ReleaseRequest

	// before is called with each request before it is carried out, after when it
	// has been. If one returns an error, the caller gets that. They may block.
	before, after func(ctx context.Context, request any) error
}

func newFakeService() *fakeService {
	return &fakeService{now: time.Now, ttl: ttl, leases: map[string]*cirrusv1.Lease{},
		lost: map[string]bool{}}
}

// around runs f between before and after.
func (s *fakeService) around(ctx context.Context, request any, f func() error) error {
	s.mu.Lock()
	before, after := s.before, s.after
	s.mu.Unlock()
	if before != nil {
		if err := before(ctx, request); err != nil {
			return err
		}
	}
	s.mu.Lock()
	err := f()
	s.mu.Unlock()
	if after != nil && err == nil {
		err = after(ctx, request)
	}
	return err
}

// setMixUp sets whether answers carry another instance's ID.
func (s *fakeService) setMixUp(mixUp bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mixUp = mixUp
}

// promise updates l as a good answer does and returns a copy for the reply.
func (s *fakeService) promise(l *cirrusv1.Lease) *cirrusv1.Lease {
	l.ServerTimeMs = s.now().UnixMilli()
	l.CeilingMs = l.ServerTimeMs + s.ttl.Milliseconds()
	promised := proto.Clone(l).(*cirrusv1.Lease)
	if s.mixUp {
		promised.InstanceId = "somebody-else-0000"
	}
	return promised
}

func (s *fakeService) Acquire(ctx context.Context,
	r *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse, error) {
	resp := &cirrusv1.AcquireResponse{}
	return resp, s.around(ctx, r, func() error {
		s.acquires = append(s.acquires, r)
		l := s.leases[r.GetInstanceId()]
		if l == nil {
			n := len(s.leases)
			l = &cirrusv1.Lease{
				Pool: r.GetPool(), NodeId: uint32(100 + n), Epoch: uint64(1 + n),
				AppId: r.GetAppId(), InstanceId: r.GetInstanceId(),
				Ttl: durationpb.New(s.ttl), HeartbeatEvery: durationpb.New(s.ttl / 3),
				FloorMs: s.now().UnixMilli(),
				Layout:  &cirrusv1.Layout{TimestampBits: 41, NodeBits: 10, SequenceBits: 12},
			}
			s.leases[r.GetInstanceId()] = l
		}
		resp.Lease = s.promise(l)
		return nil
	})
}

func (s *fakeService) Heartbeat(ctx context.Context,
	r *cirrusv1.HeartbeatRequest) (*cirrusv1.HeartbeatResponse, error) {
	resp := &cirrusv1.HeartbeatResponse{}
	return resp, s.around(ctx, r, func() error {
		s.beats++
		l := s.leases[r.GetInstanceId()]
		if l == nil || s.lost[r.GetInstanceId()] || l.GetEpoch() != r.GetEpoch() ||
			l.GetNodeId() != r.GetNodeId() {
			return leaseLost()
		}
		resp.Lease = s.promise(l)
		return nil
	})
}

func (s *fakeService) Release(ctx context.Context,
	r *cirrusv1.ReleaseRequest) (*cirrusv1.ReleaseResponse, error) {
	return &cirrusv1.ReleaseResponse{}, s.around(ctx, r, func() error {
		s.releases = append(s.releases, r)
		if s.lost[r.GetInstanceId()] {
			return leaseLost()
		}
		return nil
	})
}

// loseAll ends every lease that there is.
func (s *fakeService) loseAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for instance := range s.leases {
		s.lost[instance] = true
	}
}

// set replaces before and after.
func (s *fakeService) set(before, after func(context.Context, any) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

func (s *fakeService) counts() (acquires, beats, releases int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acquires), s.beats, len(s.releases)
}

// handler returns the service as an HTTP handler.
func (s *fakeService) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(cirrusv1connect.NewLeaseServiceHandler(s))
	return mux
}

// inProcess is an HTTP client without a network: it calls the handler itself.
type inProcess struct{ handler http.Handler }

func (p inProcess) Do(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	p.handler.ServeHTTP(rec, r)
	return rec.Result(), r.Context().Err()
}

// down fails every call with UNAVAILABLE, as if the service can't be reached.
func down(context.Context, any) error {
	return connect.NewError(connect.CodeUnavailable, errors.New("connection refused"))
}

// hang blocks until the caller gives up.
func hang(ctx context.Context, _ any) error {
	<-ctx.Done()
	return ctx.Err()
}

// slow delays every call by d, or until the caller gives up.
func slow(d time.Duration) func(context.Context, any) error {
	return func(ctx context.Context, _ any) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// refusal returns an error of the service. It adds an ErrorInfo unless details has one.
func refusal(code connect.Code, details ...proto.Message) *connect.Error {
	err := connect.NewError(code, errors.New("no"))
	if !slices.ContainsFunc(details,
		func(d proto.Message) bool { _, ok := d.(*errdetails.ErrorInfo); return ok }) {
		details = append(details, &errdetails.ErrorInfo{Reason: "TESTED", Domain: "cirrus"})
	}
	for _, d := range details {
		detail, detailErr := connect.NewErrorDetail(d)
		if detailErr != nil {
			panic(detailErr)
		}
		err.AddDetail(detail)
	}
	return err
}

func leaseLost() error {
	return refusal(connect.CodeFailedPrecondition,
		&errdetails.ErrorInfo{Reason: "LEASE_LOST", Domain: "cirrus"})
}

func retryIn(d time.Duration) proto.Message {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(d)}
}

// steadyClock is the synctest bubble's clock. A test can move it ahead of the
// timers, as happens to a holder that was suspended or stalled.
type steadyClock struct {
	start time.Time
	mu    sync.Mutex
	ahead time.Duration
}

func (c *steadyClock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.start) + c.ahead
}

func (c *steadyClock) Sleep(d time.Duration) { time.Sleep(d) }

func (c *steadyClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// events collects the events that OnChange got.
type events struct {
	mu  sync.Mutex
	all []client.Event
}

func (e *events) add(ev client.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

func (e *events) list() []client.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]client.Event(nil), e.all...)
}

// world is a fake service, a steady clock and the events that an app got, in a
// synctest bubble.
type world struct {
	*testing.T
	service *fakeService
	steady  *steadyClock
	events  *events
}

// inWorld runs f in a synctest bubble: time passes when all goroutines wait.
func inWorld(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, service: newFakeService(), steady: &steadyClock{start: time.Now()},
			events: &events{}}
		w.service.now = func() time.Time { return w.steady.start.Add(w.steady.Now()) }
		f(w)
	})
}

func (w *world) hold(ctx context.Context, opts ...client.Option) (*client.Holder, error) {
	all := []client.Option{
		client.WithHTTPClient(inProcess{w.service.handler()}), client.WithSteadyClock(w.steady),
		client.OnChange(w.events.add),
	}
	return client.Hold(ctx, "http://cirrus.test", "app", append(all, opts...)...)
}

// mustHold holds a lease that is released when the test ends.
func (w *world) mustHold(opts ...client.Option) *client.Holder {
	w.Helper()
	h, err := w.hold(w.Context(), opts...)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = h.Release(ctx)
	})
	return h
}

// pass lets d pass and waits until all that was due has happened.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// wantChanges checks all changes that OnChange got so far.
func (w *world) wantChanges(want ...client.Change) {
	w.Helper()
	synctest.Wait()
	got := w.events.list()
	same := len(got) == len(want)
	for i := 0; same && i < len(want); i++ {
		same = got[i].Change == want[i]
	}
	if !same {
		w.Errorf("OnChange got %+v, want %v", got, want)
	}
}

// mints checks whether the holder mints, and that Valid, Remaining, Lease and
// Lost say the same.
func (w *world) mints(h *client.Holder, want bool) snowflake.ID {
	w.Helper()
	id, err := h.Generator().Next()
	if (err == nil) != want || err != nil && !errors.Is(err, snowflake.ErrLeaseNotValid) {
		w.Errorf("Next = %d, %v; want an ID: %t", id, err, want)
	}
	if h.Valid() != want || (h.Remaining() > 0) != want || h.Lease().Valid() != want ||
		isClosed(h.Lost()) == want {
		w.Errorf("Valid %t, Remaining %v, Lease %+v, Lost closed %t; want valid: %t",
			h.Valid(), h.Remaining(), h.Lease(), isClosed(h.Lost()), want)
	}
	return id
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
