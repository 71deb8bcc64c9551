package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/reach"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/snowflake"
)

// errorDomain is the domain of the service's ErrorInfo: no proxy answers with it (C5).
const errorDomain = "cirrus"

// errOthersAnswer means that the answer echoes another instance ID than the
// request's. Something between the app and the service has mixed up answers, and
// minting under another instance's lease would break P2 (C7).
var errOthersAnswer = errors.New(
	"the answer is to another instance's request: look at what lies between this app and the service")

// maxReply is the largest reply that is read, in bytes.
const maxReply = 1 << 20

// service makes the holder's calls.
type service struct {
	// addrs may be used by the loop only, except addrs.Find.
	addrs  *reach.Addresses
	opts   []connect.ClientOption
	noLast bool // a Release doesn't tell the last timestamp

	// leases is the RPC client for the address of, which was used last.
	leases cirrusv1connect.LeaseServiceClient
	of     *reach.Address
}

func newService(c *config) service {
	s := service{noLast: c.noLast, addrs: reach.New(c.urls, reach.Config{
		TLS: c.http.TLS, HTTP2: c.http.HTTP2, HTTPClient: c.httpClient, Random: c.random,
		Lookup: c.lookup,
	})}
	s.opts = []connect.ClientOption{
		connect.WithAcceptCompression("gzip", nil, nil), // replies are small
		connect.WithReadMaxBytes(maxReply),
		connect.WithInterceptors(headers(c.header)),
	}
	if c.grpc {
		s.opts = append(s.opts, connect.WithGRPC())
	}
	return s
}

// use returns the address for the next call, and a caller for that address.
func (s *service) use() (*reach.Address, caller) {
	if a := s.addrs.Use(); a != s.of {
		s.of, s.leases = a, cirrusv1connect.NewLeaseServiceClient(a.HTTPClient(), a.Base(),
			s.opts...)
	}
	return s.of, caller{s.leases, s.noLast}
}

// caller makes calls at one address.
type caller struct {
	leases cirrusv1connect.LeaseServiceClient
	noLast bool
}

// headers adds the app's headers to every request.
func headers(add http.Header) connect.UnaryInterceptorFunc {
	return func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			for key, values := range add {
				for _, v := range values {
					req.Header().Add(key, v)
				}
			}
			return next(ctx, req)
		}
	}
}

// do makes one call and blocks until it is answered or ctx is done. It returns
// the answer for the rules, and the error that the answer's verdict follows from.
func (s caller) do(ctx context.Context, c fencing.Call) (fencing.Answer, error) {
	lease, err := s.call(ctx, c)
	if err == nil && c.Kind != fencing.CallRelease && lease.GetInstanceId() != string(c.Instance) {
		err = errOthersAnswer
	}
	if err != nil {
		return judge(c, err), err
	}
	return fencing.Answer{Call: c, Verdict: fencing.AnswerGood, Lease: leaseOf(lease)}, nil
}

// call makes one call and returns the lease in its reply; a Release has none.
func (s caller) call(ctx context.Context, c fencing.Call) (*cirrusv1.Lease, error) {
	switch c.Kind {
	case fencing.CallAcquire:
		resp, err := s.leases.Acquire(ctx, acquireRequest(c))
		return resp.GetLease(), err
	case fencing.CallHeartbeat:
		resp, err := s.leases.Heartbeat(ctx, &cirrusv1.HeartbeatRequest{
			Pool: string(c.Pool), NodeId: uint32(c.Node), Epoch: uint64(c.Epoch), InstanceId: string(c.Instance),
		})
		return resp.GetLease(), err
	case fencing.CallRelease:
		_, err := s.leases.Release(ctx, s.releaseRequest(c))
		return nil, err
	}
	return nil, fmt.Errorf("call of kind %v: there is no such RPC", c.Kind)
}

func acquireRequest(c fencing.Call) *cirrusv1.AcquireRequest {
	req := &cirrusv1.AcquireRequest{Pool: string(c.Pool), AppId: string(c.App),
		InstanceId: string(c.Instance)}
	if c.TTL > 0 {
		req.Ttl = durationpb.New(c.TTL)
	}
	if c.Wait > 0 {
		req.Wait = durationpb.New(c.Wait)
	}
	return req
}

func (s caller) releaseRequest(c fencing.Call) *cirrusv1.ReleaseRequest {
	req := &cirrusv1.ReleaseRequest{
		Pool: string(c.Pool), NodeId: uint32(c.Node), Epoch: uint64(c.Epoch), InstanceId: string(c.Instance),
	}
	if c.Last > 0 && !s.noLast {
		last := int64(c.Last)
		req.LastTimestampMs = &last
	}
	return req
}

// leaseOf converts a lease from the wire. It checks nothing: fencing.Holder
// checks whether the lease is well-formed.
func leaseOf(l *cirrusv1.Lease) fencing.Lease {
	return fencing.Lease{
		Pool:       fencing.PoolName(l.GetPool()),
		Node:       snowflake.NodeID(l.GetNodeId()),
		Epoch:      fencing.Epoch(l.GetEpoch()),
		App:        fencing.AppID(l.GetAppId()),
		TTL:        l.GetTtl().AsDuration(),
		ServerTime: snowflake.Millis(l.GetServerTimeMs()),
		Floor:      snowflake.Millis(l.GetFloorMs()),
		Ceiling:    snowflake.Millis(l.GetCeilingMs()),
		Layout:     layoutOf(l.GetLayout()),
	}
}

// layoutOf converts a layout from the wire. Numbers of bits that don't fit into
// a uint8 become 255, which no valid layout has, so that they can't be taken for
// valid ones.
func layoutOf(l *cirrusv1.Layout) snowflake.Layout {
	bits := func(n uint32) uint8 { return uint8(min(n, 255)) }
	return snowflake.Layout{
		Origin:        snowflake.Millis(l.GetOriginMs()),
		TimestampBits: bits(l.GetTimestampBits()),
		NodeBits:      bits(l.GetNodeBits()),
		SequenceBits:  bits(l.GetSequenceBits()),
	}
}

// judge converts an error to an answer for the rules. An error without our
// ErrorInfo may come from a proxy instead of the service (C5), so another
// address, or this one a little later, may still answer.
func judge(c fencing.Call, err error) fencing.Answer {
	reason, retry := details(err)
	a := fencing.Answer{Call: c, Verdict: fencing.AnswerFailed, Elsewhere: reason == "" || reach.Elsewhere(err)}
	if reason != "" {
		a.Verdict = verdict(connect.CodeOf(err), reason, retry != nil)
	}
	if a.Verdict == fencing.AnswerFailed {
		a.RetryAfter = max(retry.AsDuration(), 0)
	}
	return a
}

// verdict returns the verdict for a code and reason of the service; this is the
// only table of them. The rules decide what a verdict means for each call: a
// refused Acquire is definite, a refused Heartbeat isn't.
func verdict(code connect.Code, reason string, retry bool) fencing.Verdict {
	switch code {
	case connect.CodeFailedPrecondition:
		if reason == string(fencing.ReasonLeaseLost) {
			return fencing.AnswerLost
		}
		return fencing.AnswerRefused
	case connect.CodeInvalidArgument, connect.CodeNotFound, connect.CodeUnauthenticated,
		connect.CodePermissionDenied:
		return fencing.AnswerRefused
	case connect.CodeResourceExhausted:
		if !retry {
			return fencing.AnswerRefused
		}
	}
	return fencing.AnswerFailed
}

// details returns what the service attached to its error: the reason in our
// ErrorInfo, or "" without one, and the delay in the RetryInfo, or nil without one.
func details(err error) (reason string, retry *durationpb.Duration) {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return "", nil
	}
	for _, d := range ce.Details() {
		value, err := d.Value()
		if err != nil {
			continue
		}
		switch v := value.(type) {
		case *errdetails.ErrorInfo:
			if v.GetDomain() == errorDomain {
				reason = v.GetReason()
			}
		case *errdetails.RetryInfo:
			retry = v.GetRetryDelay()
		}
	}
	return reason, retry
}
