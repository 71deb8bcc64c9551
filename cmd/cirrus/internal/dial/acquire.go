package dial

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/internal/reach"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// Acquire asks for a lease at one address after the other. If there are several, it
// queues only at an address that has just answered: a queue and a broken connection
// look alike, since both are silent.
func Acquire(ctx context.Context, leases *LeaseService,
	req *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse, error) {
	acquire := cirrusv1connect.LeaseServiceClient.Acquire
	wait := req.GetWait()
	if wait == nil || leases.Addrs.Len() == 1 {
		return askAll(ctx, leases, acquire, req)
	}
	for remaining := leases.Addrs.Len(); ; remaining-- {
		req.Wait = nil
		short, cancel := context.WithTimeout(ctx, CallTimeout)
		resp, err := askAll(short, leases, acquire, req)
		cancel()
		if connect.CodeOf(err) != connect.CodeResourceExhausted {
			return resp, err
		}
		req.Wait = wait
		deadline, _ := ctx.Deadline()
		resp, err = askOne(ctx, time.Until(deadline), leases, acquire, req)
		if remaining == 1 || ctx.Err() != nil || !reach.Elsewhere(err) {
			return resp, err
		}
	}
}
