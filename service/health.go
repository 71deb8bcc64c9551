package service

import (
	"context"
	"fmt"
	"net/http"
	"time"

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
		func(_ context.Context, req *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
			if !knownService(req.Service) {
				return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no service %s: ask for %q, %q or the empty name",
					quoted(req.Service), cirrusv1connect.LeaseServiceName, cirrusv1connect.AdminServiceName))
			}
			return s.health(), nil
		}, opts...))
	mux.Handle(healthWatchProcedure, connect.NewServerStreamHandlerSimple(healthWatchProcedure, s.watchHealth, opts...))
	return "/" + healthName + "/", mux
}

func knownService(name string) bool {
	switch name {
	case "", healthName, cirrusv1connect.LeaseServiceName, cirrusv1connect.AdminServiceName:
		return true
	}
	return false
}

// NoLeaderKnown is the state of a replica that neither leads nor knows who does.
const NoLeaderKnown = "no leader known"

// StateEvery is how often to look at the state again where there is no news of
// it: a mark becomes overdue by time alone.
const StateEvery = time.Second

// markOverdue is how a store shows that stands still or is slower than its
// stride.
const markOverdue = "the store has not acknowledged the mark in time, so nothing can be promised: look at its disk or members"

// Ready says whether the service answers requests: it leads, or knows who does,
// of the same store, and has reached that one within a session's TTL, its store acknowledges the
// mark in time, its only store has not failed, and it is not stopping.
func (s *Service) Ready() bool {
	_, ready := s.state()
	return ready
}

// state says in a few words what the replica is, and whether it is ready.
func (s *Service) state() (string, bool) {
	r := s.role.Load()
	switch {
	case s.cfg.Cluster == nil:
		if s.stopping() || s.hasFailed() {
			return "not serving", false
		}
		if !r.term.promises() {
			return markOverdue, false
		}
		return "ok", true
	case s.stopping():
		return "stopping", false
	case r.term != nil:
		if !r.term.promises() {
			return "leading, but " + markOverdue, false
		}
		return "leading", true
	case r.leader != nil:
		text := "following " + r.leader.member.Address
		if _, cause := r.leader.doubted(); cause != nil {
			return text + ", to which nothing can be passed on: " + cause.Error(), !r.leader.lost()
		}
		if r.leader.wrong.Load() {
			return text + ", to which nothing can be passed on: a replica of another store answers there", false
		}
		return text, true
	}
	return NoLeaderKnown, false
}

// State says in a few words what the replica is, and whether it is ready, as
// /readyz does. The channel is closed when that may have changed, unless it
// changes by time alone: see StateEvery.
func (s *Service) State() (text string, ready bool, news <-chan struct{}) {
	news = s.role.Load().news // first, so that no change is missed
	text, ready = s.state()
	return text, ready, news
}

func (s *Service) health() *healthv1.HealthCheckResponse {
	if s.Ready() {
		return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}
	}
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_NOT_SERVING}
}

// watchHealth tells the state now, and each change, until the end.
func (s *Service) watchHealth(ctx context.Context, req *healthv1.HealthCheckRequest, stream *connect.ServerStream[healthv1.HealthCheckResponse]) error {
	said := healthv1.HealthCheckResponse_UNKNOWN
	for {
		news := s.role.Load().news
		next := s.health()
		over := s.stopping() || s.hasFailed()
		if !knownService(req.Service) && !over {
			next.Status = healthv1.HealthCheckResponse_SERVICE_UNKNOWN
		}
		if next.Status != said {
			said = next.Status
			if err := stream.Send(next); err != nil {
				return err
			}
		}
		if over {
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

func (s *Service) hasFailed() bool {
	select {
	case <-s.failed:
		return true
	default:
		return false
	}
}
