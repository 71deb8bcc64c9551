package dial

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/internal/reach"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// Acquire acquires at one address after the other. Of several, it queues only
// at one that has just answered: one that lets it queue and one that says
// nothing sound alike.
func Acquire(ctx context.Context, leases *LeaseService, req *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse, error) {
	acquire := cirrusv1connect.LeaseServiceClient.Acquire
	wait := req.GetWait()
	if wait == nil || leases.Addrs.Len() == 1 {
		return askAll(ctx, leases, acquire, req)
	}
	for left := leases.Addrs.Len(); ; left-- {
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
		if left == 1 || ctx.Err() != nil || !reach.Elsewhere(err) {
			return resp, err
		}
	}
}
