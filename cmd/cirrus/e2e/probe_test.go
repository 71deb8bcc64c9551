//go:build linux

package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	"connectrpc.com/connect"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// leaderHeader is a header of forwarded answers. It names the leader.
const leaderHeader = "Cirrus-Leader"

// beat sends one heartbeat. It returns the leader that answered if the replica
// forwarded the heartbeat.
func (c *cluster) beat(ctx context.Context, to replicaClients, l *lease,
	try time.Duration) (passedTo string, err error) {
	ctx, cancel := context.WithTimeout(ctx, try)
	defer cancel()
	ctx, info := connect.NewClientContext(ctx)
	sent := now()
	resp, err := to.leases.Heartbeat(ctx, l.request())
	switch received := now(); {
	case err == nil:
		c.obs.heartbeaten(l.grant, sent, received, resp.Lease)
		passedTo = info.ResponseHeader().Get(leaderHeader)
	case reason(err) == "LEASE_LOST":
		c.obs.wasLost(l.grant, sent, received)
	}
	return passedTo, err
}

// answered waits for the answer to a heartbeat that was sent through any of those
// replicas, and returns the time from since to the answer. If not is a replica, its own
// answers as the leader do not count.
func (c *cluster) answered(since instant, through []*replica, not *replica) time.Duration {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), timeout)
	defer cancel()
	first := make(chan instant, len(through))
	for _, r := range through {
		leases, admin := dial(r.url(), connectProto)
		go func() {
			for ctx.Err() == nil {
				by, err := c.beat(ctx, replicaClients{leases, admin}, c.probe, time.Second)
				if err == nil && (not == nil || by != not.advertised()) {
					first <- now()
					return
				}
				nap(ctx, pollEvery)
			}
		}()
	}
	select {
	case at := <-first:
		return time.Duration(at - since)
	case <-ctx.Done():
		c.Fatalf("no heartbeat was answered within %v", timeout)
		return 0
	}
}

// line is a connection to a replica itself, past the proxies, that was opened before
// the fault. It is not replaced when it ends.
type line struct{ replicaClients }

var errLineGone = errors.New("the connection that was open before has ended")

// openLine opens a line, and checks that the replica has accepted it.
func (c *cluster) openLine(r *replica) *line {
	c.Helper()
	dialed := false
	transport := &http.Transport{MaxConnsPerHost: 1,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dialed {
				return nil, errLineGone
			}
			dialed = true
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}}
	c.Cleanup(transport.CloseIdleConnections)
	h := &http.Client{Transport: transport}
	l := &line{replicaClients{
		cirrusv1connect.NewLeaseServiceClient(h, "http://"+r.listen),
		cirrusv1connect.NewAdminServiceClient(h, "http://"+r.listen),
	}}
	_, err := c.beat(c.Context(), l.replicaClients, c.probe, timeout)
	c.must(err)
	return l
}

// question is a request that waits at a replica, on a line of its own.
type question struct {
	what string
	line *line
	ask  func(context.Context, replicaClients) (string, error)
	done chan struct{}

	answer string
	err    error
}

// questions returns what to ask a deposed leader, on lines that it has accepted
// earlier, when another holder has the node ID of the old lease.
func (c *cluster) questions(r *replica, old *lease) []*question {
	qs := []*question{
		{what: "the old lease", ask: c.askHeartbeat(old)},
		{what: "its instance", ask: c.askAcquire(old.pool, old.app, old.instance)},
		{what: "a new instance", ask: c.askAcquire(old.pool, "third", strings.Repeat("3", 32))},
		{what: "the listing", ask: c.askListing(old.pool)},
		{what: "a lease that is kept", ask: c.askHeartbeat(c.probe)},
		{what: "its successor's lease"},
	}
	for _, q := range qs {
		q.line = c.openLine(r)
	}
	return qs
}

// send sends all questions, and returns when they have been written. next is the lease
// that has the node ID now; nil: there is none.
func (c *cluster) send(qs []*question, next *lease) {
	c.Helper()
	for _, q := range qs {
		if q.ask == nil {
			q.ask = c.askHeartbeat(cmp.Or(next, c.probe))
		}
		written := make(chan struct{})
		q.done = make(chan struct{})
		ctx := httptrace.WithClientTrace(c.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { close(written) },
		})
		go func() {
			defer close(q.done)
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			q.answer, q.err = q.ask(ctx, q.line.replicaClients)
		}()
		select {
		case <-written:
		case <-q.done:
			c.Fatalf("sending the question about %s: %v", q.what, q.err)
		}
	}
}

// reply waits for the answer, and returns it in words.
func (q *question) reply() string {
	<-q.done
	if q.err != nil {
		return fmt.Sprintf("%s: %v %s", q.what, connect.CodeOf(q.err), reason(q.err))
	}
	return fmt.Sprintf("%s: %s", q.what, q.answer)
}

// askHeartbeat returns a question that sends a heartbeat.
func (c *cluster) askHeartbeat(l *lease) func(context.Context, replicaClients) (string, error) {
	return func(ctx context.Context, to replicaClients) (string, error) {
		by, err := c.beat(ctx, to, l, timeout)
		if by != "" {
			return "kept, by another", err
		}
		return "kept", err
	}
}

// askAcquire returns a question that acquires under an instance ID.
func (c *cluster) askAcquire(pool, app, instance string) func(context.Context,
	replicaClients) (string, error) {
	return func(ctx context.Context, to replicaClients) (string, error) {
		sent := now()
		resp, err := to.leases.Acquire(ctx,
			&cirrusv1.AcquireRequest{Pool: pool, AppId: app, InstanceId: instance})
		if err != nil {
			return "", err
		}
		c.obs.granted(sent, sent, now(), resp.Lease)
		return fmt.Sprintf("node ID %d under epoch %d", resp.Lease.NodeId, resp.Lease.Epoch), nil
	}
}

// askListing returns a question that lists a pool, and checks the listing.
func (c *cluster) askListing(pool string) func(context.Context, replicaClients) (string, error) {
	return func(ctx context.Context, to replicaClients) (string, error) {
		want := c.obs.expect(pool)
		resp, err := to.admin.ListLeases(ctx,
			&cirrusv1.ListLeasesRequest{Pool: pool, PageSize: 1000})
		if err != nil {
			return "", err
		}
		rows := map[uint32]*cirrusv1.LeaseStatus{}
		for _, row := range resp.Leases {
			rows[row.NodeId] = row
		}
		c.obs.audit(want, now(), rows)
		return fmt.Sprintf("%d leases", len(rows)), nil
	}
}
