package main

import (
	"context"
	"log/slog"
	"net/http"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/snowflake"
)

// nothing implements LeaseService without doing anything: each reply was made before
// its request arrives. It is as large as a real one.
type nothing struct {
	cirrusv1connect.UnimplementedLeaseServiceHandler
	acquired *cirrusv1.AcquireResponse
	kept     *cirrusv1.HeartbeatResponse
	batch    *cirrusv1.HeartbeatBatchResponse
	released *cirrusv1.ReleaseResponse
}

func (n nothing) Acquire(context.Context, *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse,
	error) {
	return n.acquired, nil
}

func (n nothing) Heartbeat(context.Context,
	*cirrusv1.HeartbeatRequest) (*cirrusv1.HeartbeatResponse, error) {
	return n.kept, nil
}

func (n nothing) HeartbeatBatch(context.Context,
	*cirrusv1.HeartbeatBatchRequest) (*cirrusv1.HeartbeatBatchResponse, error) {
	return n.batch, nil
}

func (n nothing) Release(context.Context, *cirrusv1.ReleaseRequest) (*cirrusv1.ReleaseResponse,
	error) {
	return n.released, nil
}

// nothingHandler serves nothing as the service is served: same options, same middleware.
func nothingHandler(log *slog.Logger) http.Handler {
	lease := typicalLease(0)
	n := nothing{
		acquired: &cirrusv1.AcquireResponse{Lease: lease},
		kept:     &cirrusv1.HeartbeatResponse{Lease: lease},
		batch:    &cirrusv1.HeartbeatBatchResponse{},
		released: &cirrusv1.ReleaseResponse{},
	}
	for i := range batchSize {
		one := &cirrusv1.HeartbeatResult_Lease{Lease: typicalLease(i)}
		n.batch.Results = append(n.batch.Results, &cirrusv1.HeartbeatResult{Result: one})
	}
	mux := http.NewServeMux()
	mux.Handle(cirrusv1connect.NewLeaseServiceHandler(n, service.HandlerOptions(log)...))
	return service.Middleware(mux)
}

// typicalLease returns one of several leases whose fields are as large as those of
// the leases that the service grants here.
func typicalLease(n int) *cirrusv1.Lease {
	const grantedAt = 1_800_000_000_000 // Unix ms
	layout := snowflake.DefaultLayout
	return &cirrusv1.Lease{
		Pool:           string(fencing.DefaultPool),
		NodeId:         uint32(200 + n),
		Epoch:          grantedAt/1000<<20 + uint64(n),
		AppId:          appID(n),
		InstanceId:     instanceID(n),
		Ttl:            durationpb.New(fencing.DefaultTTL),
		HeartbeatEvery: durationpb.New(fencing.DefaultTTL / 3),
		ServerTimeMs:   grantedAt,
		FloorMs:        grantedAt,
		CeilingMs:      grantedAt + fencing.DefaultTTL.Milliseconds(),
		Layout: &cirrusv1.Layout{
			OriginMs:      int64(layout.Origin),
			TimestampBits: uint32(layout.TimestampBits),
			NodeBits:      uint32(layout.NodeBits),
			SequenceBits:  uint32(layout.SequenceBits),
		},
	}
}
