package service

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/store"
)

// sockets are replicas as they are in real life: on ports, with the transport
// that replicas reach one another by, and clocks that run.
type sockets struct {
	c     *testCluster
	hosts []*host
}

func newSockets(t testing.TB, n int, log *slog.Logger) *sockets {
	t.Helper()
	var first *testMember
	s := &sockets{c: newTestCluster(newTestStore(newBatch(t, time.Now(), true, nil)))}
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h := &host{url: "http://" + l.Addr().String()}
		m := s.c.join(store.Member{ID: string(rune('a' + i)), Address: h.url})
		if first == nil {
			first = m
		}
		h.s, err = New(context.Background(),
			Config{Cluster: m, Steady: steadyClock{time.Now()}, Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		server := NewHTTPServer(h.s.Handler(), log)
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		h.h1, h.h2 = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}},
			&http.Client{Transport: h2c()}
		s.hosts = append(s.hosts, h)
		t.Cleanup(func() {
			h.s.StopRequests()
			if err := server.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
			h.s.Close()
			h.h1.CloseIdleConnections()
			h.h2.CloseIdleConnections()
		})
	}
	s.c.lead(first)
	for _, h := range s.hosts {
		for r := h.s.state.Load(); r.term == nil && r.leader == nil; r = h.s.state.Load() {
			<-r.news
		}
	}
	return s
}

// By whatever protocol a follower is asked, it answers as the leader does.
func TestFollowerInEveryProtocol(t *testing.T) {
	s := newSockets(t, 2, slog.New(slog.DiscardHandler))
	ctx := context.Background()
	for _, p := range s.hosts[1].protocols() {
		got, err := p.leases.Acquire(ctx, acquireRequest("", p.name, 0))
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		for range 3 {
			beat, err := p.leases.Heartbeat(ctx, heartbeatRequest(got.Lease))
			if err != nil {
				t.Fatalf("%s: %v", p.name, err)
			}
			sameLease(t, p.name, beat.Lease, got.Lease)
		}
		_, err = p.leases.Heartbeat(ctx,
			&cirrusv1.HeartbeatRequest{Epoch: 1, InstanceId: secret("thief")})
		lostLease.check(t, p.name, err)
		_, err = p.leases.Acquire(ctx, &cirrusv1.AcquireRequest{})
		badInput("app_id").check(t, p.name, err)
		var e *connect.Error
		if errors.As(err, &e) && e.Meta().Get(LeaderHeader) != s.hosts[0].url {
			t.Errorf("%s: answered by %q", p.name, e.Meta().Get(LeaderHeader))
		}
		_, err = p.leases.Acquire(ctx, acquireRequest("west", "a", 0))
		wanted{code: connect.CodeNotFound, reason: fencing.ReasonPoolNotFound}.check(t, p.name, err)
		watched, cancel := context.WithCancel(ctx)
		stream, err := p.admin.Watch(watched, &cirrusv1.WatchRequest{})
		if err != nil || !stream.Receive() ||
			stream.ResponseHeader().Get(LeaderHeader) != s.hosts[0].url {
			t.Errorf("%s: Watch: %v, %v", p.name, err, stream.ResponseHeader())
		}
		cancel()
		stream.Close()
	}
}

// silent listens, takes connections, and says nothing.
func silent(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// A leader that has gone without a word is noticed by the transport.
func TestSilentLeaderIsNoticed(t *testing.T) {
	l := silent(t)
	client := newPeerClient(steadyClock{time.Now()})
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for procedure, most := range map[string]time.Duration{
		cirrusv1connect.AdminServiceWatchProcedure:          peerSilence + peerPingTime,
		cirrusv1connect.LeaseServiceAcquireProcedure:        peerSilence + peerPingTime,
		cirrusv1connect.LeaseServiceHeartbeatBatchProcedure: peerQuickTime,
	} {
		all.Go(func() {
			begun := time.Now()
			req, err := http.NewRequestWithContext(context.Background(), http.MethodPost,
				"http://"+l.Addr().String()+procedure, http.NoBody)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := client.Do(req)
			if err == nil {
				resp.Body.Close()
				t.Errorf("%s was answered", procedure)
			}
			if took := time.Since(begun); took > most+2*time.Second {
				t.Errorf("%s: it took %v to notice: %v", procedure, took, err)
			}
		})
	}
	all.Wait()
}
