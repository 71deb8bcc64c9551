package service

import (
	"context"
	"fmt"
	"net/http"

	"connectrpc.com/connect"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// Names of the standard gRPC health protocol.
const (
	healthName           = "grpc.health.v1.Health"
	healthCheckProcedure = "/" + healthName + "/Check"
	healthWatchProcedure = "/" + healthName + "/Watch"
)

// newHealthHandler serves grpc.health.v1 for this service.
func newHealthHandler(s *Service, opts ...connect.HandlerOption) (string, http.Handler) {
	mux := http.NewServeMux()
	mux.Handle(healthCheckProcedure, connect.NewUnaryHandlerSimple(healthCheckProcedure,
		func(_ context.Context, req *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse,
			error) {
			if !knownService(req.Service) {
				return nil, connect.NewError(connect.CodeNotFound,
					fmt.Errorf("there is no service %s: ask for %q, %q or the empty name",
						quoted(req.Service), cirrusv1connect.LeaseServiceName,
						cirrusv1connect.AdminServiceName))
			}
			return s.health(), nil
		}, opts...))
	mux.Handle(healthWatchProcedure,
		connect.NewServerStreamHandlerSimple(healthWatchProcedure, s.watchHealth, opts...))
	return "/" + healthName + "/", mux
}

func knownService(name string) bool {
	switch name {
	case "", healthName, cirrusv1connect.LeaseServiceName, cirrusv1connect.AdminServiceName:
		return true
	}
	return false
}

func (s *Service) health() *healthv1.HealthCheckResponse {
	if s.Ready() {
		return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}
	}
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_NOT_SERVING}
}

// watchHealth sends the state now, and each change, until the service ends.
func (s *Service) watchHealth(ctx context.Context, req *healthv1.HealthCheckRequest,
	stream *connect.ServerStream[healthv1.HealthCheckResponse]) error {
	sent := healthv1.HealthCheckResponse_UNKNOWN
	for {
		news := s.state.Load().news
		next := s.health()
		ended := s.stopping() || isClosed(s.failed)
		if !knownService(req.Service) && !ended {
			next.Status = healthv1.HealthCheckResponse_SERVICE_UNKNOWN
		}
		if next.Status != sent {
			sent = next.Status
			if err := stream.Send(next); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
		again := s.cfg.Clock.NewTimer(StateEvery)
		select {
		case <-ctx.Done():
		case <-s.closing:
		case <-s.failed:
		case <-news:
		case <-again.Chan():
		}
		again.Stop()
		if err := ctx.Err(); err != nil {
			return toWire(err)
		}
	}
}
