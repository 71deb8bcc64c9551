package sim

import (
	"context"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// The operator, and clients of another make, which make calls of their own.

// admin makes a call of the operator's, in a process of its own.
func (w *world) admin(what string, call func(context.Context,
	cirrusv1connect.AdminServiceClient) error) {
	w.operate(what, func(ctx context.Context, t transport) error {
		return call(ctx, cirrusv1connect.NewAdminServiceClient(t, "http://server",
			connect.WithAcceptCompression("gzip", nil, nil)))
	})
}

// lease makes a call as holders do, in a process of the operator's.
func (w *world) lease(what string, call func(context.Context,
	cirrusv1connect.LeaseServiceClient) error) {
	w.leaseAt(serviceName, what, call)
}

// leaseAt is lease, at one server.
func (w *world) leaseAt(host, what string,
	call func(context.Context, cirrusv1connect.LeaseServiceClient) error) {
	w.operate(what, func(ctx context.Context, t transport) error {
		return call(ctx, cirrusv1connect.NewLeaseServiceClient(t, "http://"+host,
			connect.WithAcceptCompression("gzip", nil, nil)))
	})
}

func (w *world) operate(what string, call func(context.Context, transport) error) {
	p := w.operator.Process()
	p.Start(what, func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		w.after(2*w.plan.TTL, "timeout", func() {
			cancel()
			w.operator.Touch()
		})
		err := call(ctx, transport{w: w, proc: p})
		text := what
		if err != nil {
			text += ": " + err.Error()
		} else {
			w.saw("an operator changed something")
		}
		w.note(Record{Kind: RecordOperate, Machine: "operator", Node: -1, Text: text})
	})
}
