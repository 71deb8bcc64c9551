package main

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// forgetfulLeases grants every request, and loses its first answer.
type forgetfulLeases struct {
	cirrusv1connect.UnimplementedLeaseServiceHandler
	mu        sync.Mutex
	instances []string
}

func (f *forgetfulLeases) Acquire(_ context.Context,
	req *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.instances = append(f.instances, req.InstanceId); len(f.instances) == 1 {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("granted, perhaps"))
	}
	return &cirrusv1.AcquireResponse{Lease: &cirrusv1.Lease{
		InstanceId: req.InstanceId, Epoch: 1,
		Layout: &cirrusv1.Layout{TimestampBits: 41, NodeBits: 10, SequenceBits: 12},
	}}, nil
}

// TestAcquireTwiceIsOneLease checks that a request that is repeated at another
// address has the same instance ID, though the user gave none.
func TestAcquireTwiceIsOneLease(t *testing.T) {
	service := &forgetfulLeases{}
	_, handler := cirrusv1connect.NewLeaseServiceHandler(service)
	one, two := httptest.NewServer(handler), httptest.NewServer(handler)
	defer one.Close()
	defer two.Close()
	var stdout, stderr strings.Builder
	if code := run([]string{"acquire", "--app", "a", "--addr", one.URL + "," + two.URL},
		strings.NewReader(""), &stdout, &stderr); code != exit.OK {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	if i := service.instances; len(i) != 2 || len(i[0]) != 32 || i[0] != i[1] {
		t.Errorf("the requests had the instance IDs %q, want two equal ones of 32 characters", i)
	}
}
