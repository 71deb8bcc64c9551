package etcd

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cirrus-id/cirrus/internal/etcdtest"
	"github.com/cirrus-id/cirrus/store"
)

// refuser is an etcd that answers each transaction and read with an error.
type refuser struct {
	pb.UnimplementedKVServer
	with codes.Code

	mu    sync.Mutex
	txns  int
	reads int
}

func (r *refuser) Txn(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.txns++
	return nil, status.Error(r.with, "so it is")
}

func (r *refuser) Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	return nil, status.Error(r.with, "so it is")
}

// TestSentOnce: a transaction is sent once, whatever the answer. A read may be sent again
// while etcd is unavailable or does not answer.
func TestSentOnce(t *testing.T) {
	for _, code := range []codes.Code{codes.Canceled, codes.DeadlineExceeded, codes.Unavailable,
		codes.Unauthenticated, codes.Internal, codes.Unknown} {
		t.Run(code.String(), func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			r := &refuser{with: code}
			s := grpc.NewServer()
			pb.RegisterKVServer(s, r)
			served := make(chan error)
			go func() { served <- s.Serve(l) }()
			defer func() {
				s.Stop()
				if err := <-served; err != nil {
					t.Error(err)
				}
			}()
			var seen []RoundTrip
			cfg, err := (Config{
				Endpoints: []string{"http://" + l.Addr().String()},
				Timeout:   300 * time.Millisecond,
				Observe:   func(r RoundTrip) { seen = append(seen, r) },
			}).withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			c := newClient(cfg)
			t.Cleanup(func() { _ = c.close() })
			if done, err := c.Txn(context.Background(),
				Txn{For: ForCommit, Ops: []Op{{Key: "k", Value: []byte("v")}}}); done ||
				err == nil {
				t.Errorf("Txn: done %v, %v, want an error", done, err)
			}
			if _, err := c.Range(context.Background(),
				Range{For: ForConfirm, From: "k"}); err == nil {
				t.Error("Range: nil, want an error")
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.txns != 1 {
				t.Errorf("the transaction was sent %d times, want once", r.txns)
			}
			if len(seen) != 2 || seen[0].For != ForCommit || seen[1].For != ForConfirm ||
				seen[0].Err == nil || seen[1].Took <= 0 {
				t.Errorf("Observe got %+v, want the failed commit and the failed confirm", seen)
			}
			if again := r.reads > 1; again != (code == codes.Unavailable ||
				code == codes.DeadlineExceeded) {
				t.Errorf("the read was sent %d times, want more than once: %v", r.reads,
					code == codes.Unavailable || code == codes.DeadlineExceeded)
			}
		})
	}
}

// TestTwoClusters: endpoints of two clusters are refused.
func TestTwoClusters(t *testing.T) {
	a, b := etcdtest.Start(t, 1), etcdtest.Start(t, 1)
	c := open(t, Config{Endpoints: append(a.Endpoints(), b.Endpoints()...)})
	var err error
	for range 100 {
		if err = c.noStore(context.Background()); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "two etcd clusters") {
		t.Errorf("noStore: %v, want an error with %q", err, "two etcd clusters")
	}
}

// mute is a member of etcd that accepts requests and answers none.
type mute struct{ pb.UnimplementedKVServer }

func (mute) Txn(ctx context.Context, _ *pb.TxnRequest) (*pb.TxnResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// prompt is a member that does each transaction at once.
type prompt struct{ pb.UnimplementedKVServer }

func (prompt) Txn(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error) {
	return &pb.TxnResponse{Header: &pb.ResponseHeader{ClusterId: 1}, Succeeded: true}, nil
}

// serve starts a member on a port of its own and returns its URL.
func serve(t *testing.T, kv pb.KVServer) string {
	t.Helper()
	return serveAll(t, func(s *grpc.Server) { pb.RegisterKVServer(s, kv) })
}

func serveAll(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

// TestSilentMemberIsAbandoned: a member that gives no answer costs one call, wherever it is
// among the endpoints.
func TestSilentMemberIsAbandoned(t *testing.T) {
	endpoints := []string{serve(t, mute{}), serve(t, prompt{}), serve(t, prompt{})}
	cfg, err := Config{Endpoints: endpoints, Timeout: 300 * time.Millisecond,
		Observe: func(RoundTrip) {}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for first, endpoint := range endpoints {
		c := newClient(cfg)
		t.Cleanup(func() { _ = c.close() })
		c.turn = first
		write := func() error {
			done, err := c.Txn(context.Background(),
				Txn{For: ForCommit, Ops: []Op{{Key: "k", Value: []byte("v")}}})
			if err == nil && !done {
				t.Errorf("a write to %s was not done", endpoint)
			}
			return err
		}
		if err := write(); (err != nil) != (first == 0) {
			t.Errorf("the first write, to member %d: %v, want an error: %v", first, err, first == 0)
		}
		for range 5 {
			if err := write(); err != nil {
				t.Errorf("a later write of a client that started with member %d: %v", first, err)
			}
		}
	}
}

// stuck is a member that never answers which cluster it is of.
type stuck struct {
	pb.UnimplementedMaintenanceServer
	asked chan struct{}
}

func (s stuck) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestStuckMemberHidesNoLeader: the leader is reported while a member that doesn't answer
// is asked for its cluster.
func TestStuckMemberHidesNoLeader(t *testing.T) {
	cfg := config(t)
	a := open(t, cfg)
	member := stuck{asked: make(chan struct{}, 1)}
	cfg.Endpoints = append(cfg.Endpoints[:1:1],
		serveAll(t, func(s *grpc.Server) { pb.RegisterMaintenanceServer(s, member) }))
	cfg.SessionTTL = time.Second
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(cfg)
	t.Cleanup(func() { _ = c.close() })
	c.turn = 0
	if _, err := c.connect(context.Background()); err != nil { // it asks, too
		t.Fatal(err)
	}
	<-member.asked
	c.askTimeout = 2 * testTimeout
	e := newElection(c, store.Member{ID: "b"})
	t.Cleanup(func() { _ = e.Close() })
	<-member.asked
	campaign(t, a)
	deadline := time.After(testTimeout)
	for {
		m, news := e.Leader()
		if m == a.Self() {
			return
		}
		select {
		case <-news:
		case <-deadline:
			t.Fatalf("the reported leader is %+v, want %+v", m, a.Self())
		}
	}
}
