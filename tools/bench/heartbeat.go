package main

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/client"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// batchSize is the number of heartbeats in a batch.
const batchSize = 64

const (
	oneCall  = "one that does nothing"
	twoCalls = "two calls that do nothing"
)

// heartbeatConnect: inFlight leases, each with a connection of its own.
func heartbeatConnect(r *measuring) []Row {
	ours, nothing, _ := r.besideNothing(inFlight, func(c *child) operation {
		return r.heartbeats(r.acquire(c, inFlight), c)
	})
	return []Row{cpuOf("Heartbeat, Connect over HTTP/1.1, 64 in flight", ours, oneCall, nothing,
		1.15, rates("calls", ours, nothing))}
}

// heartbeatGRPC: the same leases on one HTTP/2 connection.
func heartbeatGRPC(r *measuring) []Row {
	ours, nothing, _ := r.besideNothing(inFlight, func(c *child) operation {
		beats := r.acquire(c, inFlight)
		over := client.NewHTTPClient(client.HTTPOptions{HTTP2: true})
		r.onEnd(func() error { over.CloseIdleConnections(); return nil })
		leases := cirrusv1connect.NewLeaseServiceClient(over, "http://"+c.Addr,
			connect.WithGRPC(), connect.WithAcceptCompression("gzip", nil, nil))
		return func(ctx context.Context, worker int) error {
			_, err := leases.Heartbeat(ctx, beats[worker])
			return err
		}
	})
	return []Row{cpuOf("Heartbeat, gRPC over h2c, 64 in flight", ours, oneCall, nothing, 1.15,
		rates("calls", ours, nothing))}
}

// heartbeatBatch: batches of eight senders, each with leases of its own.
func heartbeatBatch(r *measuring) []Row {
	const senders = 8
	ours, nothing, _ := r.besideNothing(inFlight, func(c *child) operation {
		beats := r.acquire(c, senders*batchSize)
		batches := make([]*cirrusv1.HeartbeatBatchRequest, inFlight)
		for i := range batches {
			from := i % senders * batchSize
			batches[i] = &cirrusv1.HeartbeatBatchRequest{Heartbeats: beats[from : from+batchSize]}
		}
		r.checkBatch(c, batches[0])
		return repeated(r, c, cirrusv1connect.LeaseServiceHeartbeatBatchProcedure, batches)
	})
	row := cpuOf("HeartbeatBatch of 64, Connect over HTTP/1.1, 64 in flight", ours, oneCall,
		nothing, 1.5, rates("calls", ours, nothing))
	each := Row{What: "… each of its heartbeats", Unit: "µs CPU", Ours: row.Ours / batchSize,
		Target: Target{"<", 2}}
	return []Row{row, each}
}

// checkBatch checks that every heartbeat of a batch succeeds: the call does even if
// none of them does.
func (r *measuring) checkBatch(c *child, req *cirrusv1.HeartbeatBatchRequest) {
	to := must(dial(r.ctx, c.Addr))
	var resp cirrusv1.HeartbeatBatchResponse
	check(to.call(cirrusv1connect.LeaseServiceHeartbeatBatchProcedure, req, &resp))
	check(to.Close())
	if n := len(resp.Results); n != batchSize {
		check(fmt.Errorf("a batch of %d heartbeats got %d results", batchSize, n))
	}
	for _, result := range resp.Results {
		if result.GetLease() == nil {
			check(fmt.Errorf("a heartbeat in a batch was refused: %s",
				result.GetError().GetMessage()))
		}
	}
}
