package bench

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/cirrus-id/cirrus/client"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// batchSize is how many heartbeats a batch has.
const batchSize = 64

// target of a call's server CPU, beside that of a call that does nothing.
const (
	heartbeatTarget = 1.15
	batchTarget     = 1.5
	batchEachTarget = 2.0 // µs
)

const doesNothing = "one that does nothing"

// heartbeatConnect: inFlight leases, each with a connection of its own.
func heartbeatConnect(ctx context.Context, b *bench) ([]Row, error) {
	ours, limit, err := b.compareCalls(ctx, "heartbeat", func(ctx context.Context, c *child) (operation, func(), error) {
		h, err := acquire(ctx, c.addr, inFlight)
		if err != nil {
			return nil, nil, err
		}
		messages := make([]proto.Message, inFlight)
		for i, req := range h.requests {
			messages[i] = req
		}
		return prepared(ctx, c, cirrusv1connect.LeaseServiceHeartbeatProcedure, messages)
	})
	if err != nil {
		return nil, err
	}
	return []Row{callRow("Heartbeat, Connect over HTTP/1.1, 64 in flight", ours, limit, heartbeatTarget)}, nil
}

// heartbeatGRPC: the same leases on one HTTP/2 connection.
func heartbeatGRPC(ctx context.Context, b *bench) ([]Row, error) {
	ours, limit, err := b.compareCalls(ctx, "heartbeat-grpc", func(ctx context.Context, c *child) (operation, func(), error) {
		h, err := acquire(ctx, c.addr, inFlight)
		if err != nil {
			return nil, nil, err
		}
		over := client.NewHTTPClient(client.HTTPOptions{HTTP2: true})
		leases := cirrusv1connect.NewLeaseServiceClient(over, "http://"+c.addr,
			connect.WithGRPC(), connect.WithAcceptCompression("gzip", nil, nil))
		return func(ctx context.Context, worker int) error {
			_, err := leases.Heartbeat(ctx, h.requests[worker])
			return err
		}, over.CloseIdleConnections, nil
	})
	if err != nil {
		return nil, err
	}
	return []Row{callRow("Heartbeat, gRPC over h2c, 64 in flight", ours, limit, heartbeatTarget)}, nil
}

// heartbeatBatch: each connection keeps leases of its own, as a node agent
// would.
func heartbeatBatch(ctx context.Context, b *bench) ([]Row, error) {
	const senders = 8
	ours, limit, err := b.compareCalls(ctx, "batch", func(ctx context.Context, c *child) (operation, func(), error) {
		h, err := acquire(ctx, c.addr, senders*batchSize)
		if err != nil {
			return nil, nil, err
		}
		messages := make([]proto.Message, inFlight)
		for i := range messages {
			from := i % senders * batchSize
			messages[i] = &cirrusv1.HeartbeatBatchRequest{Heartbeats: h.requests[from : from+batchSize]}
		}
		if err := checkBatch(ctx, c, messages[0]); err != nil {
			return nil, nil, err
		}
		return prepared(ctx, c, cirrusv1connect.LeaseServiceHeartbeatBatchProcedure, messages)
	})
	if err != nil {
		return nil, err
	}
	row := callRow("HeartbeatBatch of 64, Connect over HTTP/1.1, 64 in flight", ours, limit, batchTarget)
	each := Row{
		What: "… each of its heartbeats", Unit: "µs CPU", Ours: row.Ours / batchSize,
		Target: Target{"<", batchEachTarget},
	}
	return []Row{row, each.judged()}, nil
}

// checkBatch looks into a reply: a batch is answered well even if no heartbeat
// in it is.
func checkBatch(ctx context.Context, c *child, req proto.Message) error {
	one, err := dial(ctx, c.addr)
	if err != nil {
		return err
	}
	defer func() { _ = one.Close() }() // nothing is written that could be lost
	var resp cirrusv1.HeartbeatBatchResponse
	if err := one.call(cirrusv1connect.LeaseServiceHeartbeatBatchProcedure, req, &resp); err != nil {
		return err
	}
	if n := len(resp.Results); n != batchSize {
		return fmt.Errorf("a batch of %d heartbeats got %d results", batchSize, n)
	}
	for _, r := range resp.Results {
		if r.GetLease() == nil {
			return fmt.Errorf("a heartbeat of a batch was refused: %s", r.GetError().GetMessage())
		}
	}
	return nil
}

// prepared sends the same message over and over, a connection for each.
func prepared(ctx context.Context, c *child, procedure string, messages []proto.Message) (operation, func(), error) {
	requests := make([][]byte, len(messages))
	for i, msg := range messages {
		var err error
		if requests[i], err = request(procedure, msg); err != nil {
			return nil, nil, err
		}
	}
	all, closeAll, err := conns(ctx, c.addr, len(messages))
	if err != nil {
		return nil, nil, err
	}
	return func(_ context.Context, worker int) error {
		_, err := all[worker].send(requests[worker])
		return err
	}, closeAll, nil
}

// prepare readies an operation against a server, and says how to end it.
type prepare func(context.Context, *child) (operation, func(), error)

// compareCalls measures calls of a real server beside those of one that does
// nothing, inFlight at a time.
func (b *bench) compareCalls(ctx context.Context, name string, ready prepare) (ours, limit []sample, err error) {
	p, err := b.startPair(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	nothing, done, err := ready(ctx, p.nothing)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	realOne, done, err := ready(ctx, p.real)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	samples, err := b.takeTurns(ctx, loaded(p.nothing, inFlight, nothing), loaded(p.real, inFlight, realOne))
	if err != nil {
		return nil, nil, err
	}
	return samples[1], samples[0], nil
}

// callRow compares the server's CPU time of two calls.
func callRow(what string, ours, limit []sample, most float64) Row {
	return Row{
		What: what, Unit: "µs CPU", LimitIs: doesNothing,
		Ours: median(ours, cpuEach) / 1e3, Limit: median(limit, cpuEach) / 1e3,
		Ratio:  medianRatio(ours, cpuEach, of(limit, cpuEach)),
		Target: Target{"≤", most},
		Note:   rates("calls", ours, limit),
	}.judged()
}
