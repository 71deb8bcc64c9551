//go:build linux

package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// stopTime is how long `cirrus serve` may take to end after SIGTERM.
const stopTime = 5 * time.Second

// stop ends the service with SIGTERM, within the time that it has for that.
func (s *server) stop(t *testing.T) {
	t.Helper()
	asked := time.Now()
	s.terminate(t)
	if took := time.Since(asked); took > stopTime {
		t.Errorf("it took %v to end, want at most %v", took, stopTime)
	}
}

// TestTerminate ends the service while streams are open, requests wait in a
// queue and slow clients hold connections: it must end in time, with 0, tell
// those who wait, and forget nothing.
func TestTerminate(t *testing.T) {
	metrics := freeAddr(t)
	srv := serve(t, initStore(t, "--node-ids", "0-3"), "--metrics-listen", metrics)
	held := acquire(t, srv, 4)
	slow := slowClients(t, srv.addr)
	var watching, told sync.WaitGroup
	watching.Add(len(ways))
	for way := range ways {
		told.Go(func() { watchToTheEnd(t, srv, way, &watching) })
		told.Go(func() { waitToTheEnd(t, srv, way) })
	}
	watching.Wait()
	eventually(t, "all who wait", func() bool {
		return strings.Contains(get(t, "http://"+metrics+"/metrics"),
			fmt.Sprintf("cirrus_waiting_requests{pool=\"default\"} %d\n", len(ways)))
	})

	srv.stop(t)
	told.Wait()
	for _, conn := range slow {
		conn.Close()
	}
	srv.restart(t)
	heartbeat(t, srv, held)
	srv.stop(t)
}

// acquire leases n node IDs.
func acquire(t *testing.T, srv *server, n int) []*cirrusv1.Lease {
	t.Helper()
	leases, _ := dial(srv.url(), connectProto)
	var held []*cirrusv1.Lease
	for i := range n {
		resp, err := leases.Acquire(t.Context(),
			&cirrusv1.AcquireRequest{AppId: fmt.Sprintf("app-%d", i)})
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, resp.Lease)
	}
	return held
}

// heartbeat keeps leases that must still be there.
func heartbeat(t *testing.T, srv *server, held []*cirrusv1.Lease) {
	t.Helper()
	leases, _ := dial(srv.url(), connectProto)
	for _, l := range held {
		_, err := leases.Heartbeat(t.Context(),
			&cirrusv1.HeartbeatRequest{NodeId: l.NodeId, Epoch: l.Epoch, InstanceId: l.InstanceId})
		if err != nil {
			t.Errorf("the lease of node ID %d under epoch %d: %v", l.NodeId, l.Epoch, err)
		}
	}
}

// watchToTheEnd follows a stream that must end with the service, and say so.
func watchToTheEnd(t *testing.T, srv *server, way int, watching *sync.WaitGroup) {
	_, admin := dial(srv.url(), way)
	stream, err := admin.Watch(t.Context(), &cirrusv1.WatchRequest{})
	if err != nil {
		t.Error(err)
		watching.Done()
		return
	}
	defer stream.Close()
	for stream.Receive() {
		if stream.Msg().Event == cirrusv1.Event_EVENT_SYNCED {
			watching.Done()
		}
	}
	shutDown(t, "Watch", stream.Err())
}

// waitToTheEnd waits for a node ID that doesn't come free.
func waitToTheEnd(t *testing.T, srv *server, way int) {
	leases, _ := dial(srv.url(), way)
	_, err := leases.Acquire(t.Context(),
		&cirrusv1.AcquireRequest{AppId: "patient", Wait: durationpb.New(time.Minute)})
	shutDown(t, "Acquire", err)
}

// shutDown looks at what they are told whom the end of the service cuts short.
func shutDown(t *testing.T, what string, err error) {
	if connect.CodeOf(err) != connect.CodeUnavailable || reason(err) != "SHUTTING_DOWN" ||
		retryAfter(err) == 0 {
		t.Errorf("%s ended with %v, want UNAVAILABLE, SHUTTING_DOWN and when to ask again", what,
			err)
	}
}

// slowClients are connections whose other side takes its time.
func slowClients(t *testing.T, addr string) []net.Conn {
	t.Helper()
	var conns []net.Conn
	for _, begun := range []string{
		"",
		"POST /cirrus.v1.LeaseService/Acquire HTTP/1.1\r\nHost: cir",
		"POST /cirrus.v1.LeaseService/Acquire HTTP/1.1\r\nHost: cirrus\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"appId\":",
		// A stream that is never read.
		"POST /cirrus.v1.AdminService/Watch HTTP/1.1\r\nHost: cirrus\r\nContent-Type: application/connect+json\r\nContent-Length: 7\r\n\r\n\x00\x00\x00\x00\x02{}",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, begun); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	return conns
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestTerminateUnderLoad ends the service with SIGTERM under many clients, a few
// times over, and judges as TestKill does.
func TestTerminateUnderLoad(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	srv := serve(t, initStore(t, crashPool...), "--stride", "200ms")
	makeTightPool(t, srv.url())
	obs := newObserver(crashQuarantine)
	ctx, stop := context.WithTimeout(t.Context(), crashTime)
	defer stop()
	crowd := startClients(ctx, srv.url(), obs, seed)
	for range 3 {
		want := obs.count().grants + 40
		eventually(t, "more grants", func() bool { return obs.count().grants >= want })
		srv.stop(t)
		srv.restart(t)
		if !auditOnce(ctx, srv.url(), obs) {
			t.Error("no listing after the restart")
		}
	}
	stop()
	ids := crowd.wait()
	srv.stop(t)
	judge(t, obs, ids)
}

// TestGRPC talks to the service with a gRPC client that is none of Connect's,
// over HTTP/2 without TLS.
func TestGRPC(t *testing.T) {
	srv := serve(t, initStore(t))
	conn, err := grpc.NewClient(srv.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	health, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(),
		&grpc_health_v1.HealthCheckRequest{})
	if err != nil || health.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("health: %v, %v", health, err)
	}

	const leases = "/cirrus.v1.LeaseService/"
	var got cirrusv1.AcquireResponse
	if err := conn.Invoke(t.Context(), leases+"Acquire", &cirrusv1.AcquireRequest{AppId: "grpc"},
		&got); err != nil {
		t.Fatal(err)
	}
	l := got.Lease
	if l.FloorMs == 0 || l.CeilingMs <= l.FloorMs || l.Epoch == 0 || l.InstanceId == "" {
		t.Fatalf("lease %v", l)
	}
	beat := &cirrusv1.HeartbeatRequest{NodeId: l.NodeId, Epoch: l.Epoch, InstanceId: l.InstanceId}
	if err := conn.Invoke(t.Context(), leases+"Heartbeat", beat,
		&cirrusv1.HeartbeatResponse{}); err != nil {
		t.Fatal(err)
	}
	release := &cirrusv1.ReleaseRequest{NodeId: l.NodeId, Epoch: l.Epoch, InstanceId: l.InstanceId,
		LastTimestampMs: &l.FloorMs}
	if err := conn.Invoke(t.Context(), leases+"Release", release,
		&cirrusv1.ReleaseResponse{}); err != nil {
		t.Fatal(err)
	}
	err = conn.Invoke(t.Context(), leases+"Heartbeat", beat, &cirrusv1.HeartbeatResponse{})
	if status.Code(err) != codes.FailedPrecondition || len(status.Convert(err).Details()) == 0 {
		t.Fatalf("a heartbeat after the release: %v, want FAILED_PRECONDITION with details", err)
	}
	srv.stop(t)
}
