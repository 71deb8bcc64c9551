package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/jonboulle/clockwork"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/store"
)

// A fleet is several replicas in one bubble, on one cluster.
type fleet struct {
	t        *testing.T
	c        *testCluster
	mu       sync.Mutex
	replicas map[string]*replica // by address
	all      []*replica
	// faults and calls are by sender and host of the receiver.
	faults map[[2]string]fault
	calls  map[[2]string]int
}

// A replica is a bubble of its own, but for the store.
type replica struct {
	*bubble
	f      *fleet
	name   string
	member *testMember
	steady steadyClock
	over   bool
	header http.Header // of the last answer
	// closers close idle connections to other replicas.
	closers []func()
}

// inFleet runs a test with replicas of these names; nobody leads yet.
func inFleet(t *testing.T, names []string, test func(f *fleet)) {
	t.Helper()
	inFleetOf(
		t, newTestStore(newBatch(t, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), true, nil)),
		names, test)
}

func inFleetOf(t *testing.T, data *testStore, names []string, test func(f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 22, 0, 0, 1, 0, time.UTC)))
		f := &fleet{t: t, c: newTestCluster(data), replicas: map[string]*replica{},
			faults: map[[2]string]fault{}, calls: map[[2]string]int{}}
		defer f.end()
		for _, name := range names {
			f.start(name)
		}
		test(f)
	})
}

// start starts a replica.
func (f *fleet) start(name string, edit ...func(*Config)) *replica {
	f.t.Helper()
	address := "http://" + name
	return f.startAt(name, address, edit...)
}

func (f *fleet) startAt(name, address string, edit ...func(*Config)) *replica {
	f.t.Helper()
	r := &replica{f: f, name: name, steady: steadyClock{time.Now()}}
	r.member = f.c.join(store.Member{ID: fmt.Sprintf("%s-%d", name, len(f.all)), Address: address})
	r.bubble = &bubble{t: f.t, log: &syncBuffer{}, net: newPipeListener(),
		wall: &wallClock{Clock: clockwork.NewRealClock()}}
	cfg := Config{
		Cluster: r.member, Clock: r.wall, Steady: r.steady,
		Logger: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Reach:  func(address string) connect.HTTPClient { return f.client(r, address) },
	}
	for _, e := range edit {
		e(&cfg)
	}
	s, err := New(context.Background(), cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	r.s = s
	r.server = NewHTTPServer(s.Handler(), cfg.Logger)
	go func() {
		if err := r.server.Serve(r.net); !errors.Is(err, http.ErrServerClosed) {
			f.t.Error(err)
		}
	}()
	r.http = &http.Client{Transport: &http.Transport{DialContext: r.net.dial,
		MaxIdleConnsPerHost: 100}}
	noting := notes{r.http, r}
	r.leases = cirrusv1connect.NewLeaseServiceClient(noting, "http://cirrus")
	r.admin = cirrusv1connect.NewAdminServiceClient(noting, "http://cirrus")
	f.mu.Lock()
	if f.replicas[address] == nil {
		f.replicas[address] = r
	}
	f.mu.Unlock()
	f.all = append(f.all, r)
	return r
}

// notes keeps the header of the last answer.
type notes struct {
	connect.HTTPClient
	r *replica
}

func (n notes) Do(req *http.Request) (*http.Response, error) {
	resp, err := n.HTTPClient.Do(req)
	if err == nil {
		n.r.f.mu.Lock()
		n.r.header = resp.Header
		n.r.f.mu.Unlock()
	}
	return resp, err
}

func (r *replica) answeredBy() string {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return r.header.Get(LeaderHeader)
}

// client is how one replica reaches another.
func (f *fleet) client(from *replica, address string) connect.HTTPClient {
	u, err := url.Parse(address)
	if err != nil {
		f.t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 100,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			to := f.at(address)
			if to == nil || f.fault(from.name, u.Hostname()) == faultCut {
				return nil, &net.OpError{Op: "dial", Net: network,
					Err: errors.New("connection refused")}
			}
			return to.net.dial(ctx, network, addr)
		}}
	f.t.Cleanup(transport.CloseIdleConnections)
	from.closers = append(from.closers, transport.CloseIdleConnections)
	return &cuttable{&http.Client{Transport: transport}, f, from.name, u.Hostname()}
}

// fault is what befalls calls from one replica to another.
type fault int

const (
	faultCut     fault = iota + 1 // they fail
	faultStalled                  // they hang, like those to a stopped process
	faultMute                     // they arrive, and their answers don't
	faultLost                     // they find no way, and time out while dialing
	faultSlow                     // they are given up by the transport
)

// cuttable fails where the way is cut, even on a connection that is there.
type cuttable struct {
	connect.HTTPClient
	f        *fleet
	from, to string
}

func (c *cuttable) Do(r *http.Request) (*http.Response, error) {
	c.f.note(c.from, c.to)
	switch c.f.fault(c.from, c.to) {
	case faultCut:
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	case faultLost:
		return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
	case faultSlow:
		return nil, errNoAnswer
	case faultStalled:
		<-r.Context().Done()
		return nil, r.Context().Err()
	case faultMute:
		resp, err := c.HTTPClient.Do(r)
		if err == nil {
			_ = resp.Body.Close()
			err = &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
		}
		return nil, err
	}
	return c.HTTPClient.Do(r)
}

func (f *fleet) at(address string) *replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replicas[address]
}

func (f *fleet) fault(from, to string) fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.faults[[2]string{from, to}]
}

// inject lets a fault befall the calls from one replica to another; 0: none.
func (f *fleet) inject(from, to string, x fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[[2]string{from, to}] = x
}

func (f *fleet) note(from, to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[[2]string{from, to}]++
}

// called is how many calls one replica has sent to another.
func (f *fleet) called(from, to string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[[2]string{from, to}]
}

// stop ends a replica in an orderly way, as `cirrus serve` does.
func (r *replica) stop() {
	if r.over {
		return
	}
	r.over = true
	r.s.StopRequests()
	if err := r.server.Shutdown(context.Background()); err != nil {
		r.t.Error(err)
	}
	r.s.Close()
	r.http.CloseIdleConnections()
	for _, closeIdle := range r.closers {
		closeIdle()
	}
	if r.s.state.Load().term != nil {
		r.t.Errorf("%s still leads", r.name)
	}
}

func (f *fleet) end() {
	f.t.Helper()
	f.c.letAll()
	for _, r := range f.all {
		r.stop()
	}
	if f.c.data != nil {
		for _, fault := range f.c.data.faults {
			f.t.Error(fault)
		}
	}
}

// makeLead makes a replica the leader, and the one before lose its leadership.
func (f *fleet) makeLead(r *replica) {
	f.t.Helper()
	for _, other := range f.all {
		if other != r {
			f.c.lose(other.member)
		}
	}
	f.c.lead(r.member)
	f.settle()
	if r.s.state.Load().term == nil {
		f.t.Fatalf("%s does not lead:\n%s", r.name, r.log)
	}
}

func (f *fleet) settle() { synctest.Wait() }

func (f *fleet) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// oneHeld returns the only operation that is held.
func (f *fleet) oneHeld() *clusterOp {
	f.t.Helper()
	f.settle()
	held := f.c.takeHeld()
	if len(held) != 1 {
		f.t.Fatalf("%d operations are held, want 1: %v", len(held), held)
	}
	return held[0]
}

// after waits for a call that needs time to pass, but no longer than that.
func after[T any](f *fleet, c *call[T], most time.Duration) *call[T] {
	f.t.Helper()
	for passed := time.Duration(0); passed < most && !c.ended(); passed += time.Millisecond {
		f.pass(time.Millisecond)
	}
	return c
}

var (
	noLeader     = wanted{code: connect.CodeUnavailable, reason: reasonNoLeader, retry: true}
	notLeading   = wanted{code: connect.CodeUnavailable, reason: reasonNotLeader, retry: true}
	notConfirmed = wanted{code: connect.CodeUnavailable, reason: reasonNotConfirmed, retry: true}
	storeSlow    = wanted{code: connect.CodeUnavailable, reason: reasonStoreSlow, retry: true}
)

// sameLease compares what a takeover must not change.
func sameLease(t testing.TB, what string, got, want *cirrusv1.Lease) {
	t.Helper()
	if got.GetNodeId() != want.GetNodeId() || got.GetEpoch() != want.GetEpoch() ||
		got.GetFloorMs() != want.GetFloorMs() || got.GetInstanceId() != want.GetInstanceId() {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func (r *replica) updatePool(ttl time.Duration) *call[*cirrusv1.UpdatePoolResponse] {
	return start(func(ctx context.Context) (*cirrusv1.UpdatePoolResponse, error) {
		return r.admin.UpdatePool(ctx,
			&cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{Ttl: proto3(ttl),
				MaxTtl: proto3(ttl)}})
	})
}
