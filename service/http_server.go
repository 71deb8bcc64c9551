package service

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"

	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// Limits of the HTTP side.
const (
	// MaxRequestBytes is how large a request message may be, decompressed.
	MaxRequestBytes = 1 << 20
	// MaxHeaderBytes is how large a request's header may be.
	MaxHeaderBytes = 64 << 10
	// compressFrom is the size from which replies are compressed for those who
	// ask for it: below, it costs more than it saves.
	compressFrom = 16 << 10
	// headerTime and idleTime bound a connection without a request.
	headerTime = 10 * time.Second
	idleTime   = 3 * time.Minute
)

// HandlerOptions are the options of all handlers of the service. The benchmark uses
// them for handlers that do nothing.
func HandlerOptions(log *slog.Logger) []connect.HandlerOption {
	return []connect.HandlerOption{
		connect.WithReadMaxBytes(MaxRequestBytes),
		connect.WithCompressMinBytes(compressFrom),
		connect.WithCompression("gzip", newGunzip, newGzip),
		connect.WithCodec(jsonCodec{name: "json"}),
		connect.WithCodec(jsonCodec{name: "json; charset=utf-8"}),
		connect.WithRecover(recovered(log)),
	}
}

// recovered logs a panic in a handler and answers INTERNAL; the process goes on.
func recovered(log *slog.Logger) func(context.Context, connect.Spec, http.Header, any) error {
	return func(_ context.Context, spec connect.Spec, _ http.Header, p any) error {
		log.Error("a handler panicked", "procedure", spec.Procedure, "panic", p,
			"stack", string(debug.Stack()))
		return connect.NewError(connect.CodeInternal,
			fmt.Errorf("%s failed inside the server: report it with the server's log",
				spec.Procedure))
	}
}

// Handler serves all services, health and reflection, for Connect, gRPC,
// gRPC-Web and plain HTTP with JSON.
func (s *Service) Handler() http.Handler { return s.handler(defaultTimes) }

func (s *Service) handler(times httpTimes) http.Handler {
	mux := http.NewServeMux()
	opts := HandlerOptions(s.log)
	mux.Handle(cirrusv1connect.NewLeaseServiceHandler(leases{s}, opts...))
	// The others are made at their first request: making them takes longer than the
	// rest of a start.
	onDemand(mux, cirrusv1connect.AdminServiceName, func() (string, http.Handler) {
		return cirrusv1connect.NewAdminServiceHandler(admin{s}, opts...)
	})
	onDemand(mux, healthName, func() (string, http.Handler) { return newHealthHandler(s, opts...) })
	reflector := grpcreflect.NewStaticReflector(
		cirrusv1connect.LeaseServiceName, cirrusv1connect.AdminServiceName, healthName)
	onDemand(mux, grpcreflect.ReflectV1ServiceName,
		func() (string, http.Handler) { return grpcreflect.NewHandlerV1(reflector, opts...) })
	onDemand(mux, grpcreflect.ReflectV1AlphaServiceName,
		func() (string, http.Handler) { return grpcreflect.NewHandlerV1Alpha(reflector, opts...) })
	return times.middleware(
		s.refuseBrowsers(s.refuseWhenStopping(s.refuseOtherStores(s.inTurns(mux)))))
}

// onDemand mounts a service's handler. It is made at the first request.
func onDemand(mux *http.ServeMux, service string, handler func() (string, http.Handler)) {
	once := sync.OnceValue(func() http.Handler {
		_, h := handler()
		return h
	})
	mux.HandleFunc("/"+service+"/",
		func(w http.ResponseWriter, r *http.Request) { once().ServeHTTP(w, r) })
}

// refuseWhenStopping refuses new requests while those in flight end.
func (s *Service) refuseWhenStopping(next http.Handler) http.Handler {
	errs := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.stopping() {
			w.Header().Set("Connection", "close")
			_ = errs.Write(w, r, s.wireError(errStopping)) // the client may be gone
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuseOtherStores refuses what replicas of another store forward. Only headers say
// that they do, and anybody can send those: so this is no alarm here, and is counted
// apart from other refusals. The sender raises the alarm (noticeOtherStore): it has
// used an address that its own store names.
func (s *Service) refuseOtherStores(next http.Handler) http.Handler {
	if s.cfg.Cluster == nil {
		return next
	}
	errs := connect.NewErrorWriter()
	lines := &seldom{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(memberHeader) == "" {
			next.ServeHTTP(w, r)
			return
		}
		// A replica that has not reached its store yet does not know the ID, and
		// does not lead.
		theirs, ours := r.Header.Get(storeHeader), s.cfg.Cluster.ID()
		if ours == "" || theirs == ours {
			next.ServeHTTP(w, r)
			return
		}
		s.metrics.foreign.Inc()
		if since, ok := lines.may(s.cfg.Steady.Now()); ok {
			s.log.Info(
				"requests were refused whose headers say that a replica of another store forwards them; if one does, its own log has an error about it",
				"its_store", quoted(theirs), "our_store", ours, "from", r.RemoteAddr,
				"refused_since_last_told", since)
		}
		_ = errs.Write(w, r, toWire(errWrongStore)) // the client may be gone
	})
}

// NewHTTPServer returns a server for Service.Handler, or for another handler within
// Middleware, which limits what follows a request's header. It serves HTTP/1.1 and
// HTTP/2, without TLS, with the service's limits.
func NewHTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           h,
		BaseContext:       noteLoopback,
		Protocols:         &protocols,
		MaxHeaderBytes:    MaxHeaderBytes,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  30 * time.Second,
			PingTimeout:      15 * time.Second,
			WriteByteTimeout: defaultTimes.take,
		},
		ErrorLog: slog.NewLogLogger(newServerLog(log), slog.LevelDebug),
	}
}

// NewMetricsServer returns a server for Service.MetricsHandler: HTTP/1.1, for short
// answers to requests without a body.
func NewMetricsServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:        h,
		BaseContext:    noteLoopback,
		MaxHeaderBytes: MaxHeaderBytes,
		ReadTimeout:    headerTime,
		WriteTimeout:   scrapeTime + defaultTimes.take,
		// A client that scrapes or probes returns within seconds, or never:
		// abandoned connections must not keep a probe out.
		IdleTimeout: headerTime,
		ErrorLog:    slog.NewLogLogger(newServerLog(log), slog.LevelDebug),
	}
}

// serverLog logs what net/http reports at level DEBUG: most of it are mistakes of
// unknown clients. A connection that could not be accepted, say for want of a file
// descriptor, is logged as a warning.
type serverLog struct {
	slog.Handler
	lines *seldom
}

func newServerLog(log *slog.Logger) serverLog { return serverLog{log.Handler(), &seldom{}} }

// Enabled implements slog.Handler.
func (l serverLog) Enabled(ctx context.Context, _ slog.Level) bool {
	return l.Handler.Enabled(ctx, slog.LevelWarn)
}

// Handle implements slog.Handler.
func (l serverLog) Handle(ctx context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "http: Accept error") {
		if since, ok := l.lines.may(time.Duration(r.Time.UnixNano())); ok {
			r.Level = slog.LevelWarn
			r.AddAttrs(slog.Int("since_last_told", since))
		}
	}
	if !l.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}
