package main

import (
	"context"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// pagedAdmin has 7 node IDs and 7 pools, and lists at most 3 in a page.
type pagedAdmin struct {
	cirrusv1connect.UnimplementedAdminServiceHandler
}

// page returns which of 7 items follow a token, and the next token.
func page(token string) (from, to int, next string) {
	from, _ = strconv.Atoi(token)
	to = min(from+3, 7)
	if to < 7 {
		next = strconv.Itoa(to)
	}
	return from, to, next
}

func (pagedAdmin) ListLeases(_ context.Context,
	req *cirrusv1.ListLeasesRequest) (*cirrusv1.ListLeasesResponse, error) {
	from, to, next := page(req.PageToken)
	resp := &cirrusv1.ListLeasesResponse{NextPageToken: next}
	for i := from; i < to; i++ {
		// The states take turns: held, quarantined, free.
		resp.Leases = append(resp.Leases, &cirrusv1.LeaseStatus{NodeId: uint32(i),
			State: cirrusv1.LeaseState(1 + i%3), AppId: req.Pool})
	}
	return resp, nil
}

func (pagedAdmin) ListPools(_ context.Context,
	req *cirrusv1.ListPoolsRequest) (*cirrusv1.ListPoolsResponse, error) {
	from, to, next := page(req.PageToken)
	resp := &cirrusv1.ListPoolsResponse{NextPageToken: next}
	for i := from; i < to; i++ {
		resp.Pools = append(resp.Pools, &cirrusv1.Pool{Name: "pool" + strconv.Itoa(i)})
	}
	return resp, nil
}

func TestListingsGoThroughAllPages(t *testing.T) {
	_, handler := cirrusv1connect.NewAdminServiceHandler(pagedAdmin{})
	server := httptest.NewServer(handler)
	defer server.Close()
	for _, tc := range []struct {
		args  string
		first string // the first fields of all lines
	}{
		{"ls", "NODE_ID 0 1 2 3 4 5 6"},
		{"ls --state held", "NODE_ID 0 3 6"},
		{"ls --state quarantined", "NODE_ID 1 4"},
		{"ls --state free", "NODE_ID 2 5"},
		{"pools ls", "NAME pool0 pool1 pool2 pool3 pool4 pool5 pool6"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			var stdout, stderr strings.Builder
			args := append(strings.Fields(tc.args), "--addr", server.URL)
			if code := run(args, strings.NewReader(""), &stdout, &stderr); code != exit.OK {
				t.Fatalf("exit code %d: %s", code, stderr.String())
			}
			var first []string
			for line := range strings.Lines(stdout.String()) {
				first = append(first, strings.Fields(line)[0])
			}
			if got := strings.Join(first, " "); got != tc.first {
				t.Errorf("got %q, want %q", got, tc.first)
			}
		})
	}
}
