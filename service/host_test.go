package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/jonboulle/clockwork"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// A host is a service as it is in real life, on a socket and a Pebble store,
// but for its clocks, which stand still until a test moves them.
type host struct {
	t     *testing.T
	s     *Service
	store store.Store
	clock *clockwork.FakeClock
	log   *syncBuffer
	url   string
	h1    *http.Client
	h2    *http.Client
}

// fakeSteady is the steady side of a fake clock.
type fakeSteady struct {
	clock *clockwork.FakeClock
	start time.Time
}

func (f fakeSteady) Now() time.Duration { return f.clock.Since(f.start) }

var theDay = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// newHost serves a vouched store with the default pool, edited.
func newHost(t *testing.T, edit func(*fencing.Pool)) *host {
	return newHostWith(t, true, edit,
		nil)
}

func newHostWith(t *testing.T, vouched bool, edit func(*fencing.Pool), random io.Reader) *host {
	t.Helper()
	h := &host{t: t, clock: clockwork.NewFakeClockAt(theDay), log: &syncBuffer{}}
	log := slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	batch := newBatch(t, theDay, vouched, edit)
	st, err := pebble.OpenMemory(*batch.Meta, batch.Pools, pebble.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	h.store = st
	h.s, err = New(context.Background(),
		Config{Store: st, Clock: h.clock, Steady: fakeSteady{h.clock, theDay}, Logger: log,
			Random: random})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewHTTPServer(h.s.Handler(), log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	h.url = "http://" + l.Addr().String()
	h.h1, h.h2 = &http.Client{Transport: &http.Transport{}}, &http.Client{Transport: h2c()}
	t.Cleanup(func() {
		h.s.StopRequests()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		h.s.Close()
		h.h1.CloseIdleConnections()
		h.h2.CloseIdleConnections()
		checkService(t, h.s)
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// h2c is HTTP/2 without TLS.
func h2c() *http.Transport {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	return &http.Transport{Protocols: &p}
}

// protocol is one of the ways to talk to the service.
type protocol struct {
	name   string
	leases cirrusv1connect.LeaseServiceClient
	admin  cirrusv1connect.AdminServiceClient
}

// protocols are all ways to talk to the service.
func (h *host) protocols() []protocol {
	var all []protocol
	add := func(name string, c *http.Client, opts ...connect.ClientOption) {
		all = append(all, protocol{name, cirrusv1connect.NewLeaseServiceClient(c, h.url, opts...),
			cirrusv1connect.NewAdminServiceClient(c, h.url, opts...)})
	}
	add("Connect JSON", h.h1, connect.WithProtoJSON())
	add("Connect proto", h.h1)
	add("Connect proto h2c", h.h2)
	add("gRPC", h.h2, connect.WithGRPC())
	add("gRPC-Web", h.h1, connect.WithGRPCWeb())
	add("gRPC-Web JSON", h.h1, connect.WithGRPCWeb(), connect.WithProtoJSON())
	return all
}

// dump is all that a service shows and its store holds, as text.
func (h *host) dump() string { return dumpOf(h.t, h.s, h.store) }

func dumpOf(t testing.TB, s *Service, st store.Store) string {
	t.Helper()
	ctx := context.Background()
	var b strings.Builder
	a := admin{s}
	pools, err := a.ListPools(ctx, &cirrusv1.ListPoolsRequest{PageSize: MaxPage})
	if err != nil {
		t.Fatal(err)
	}
	b.WriteString(prototext.MarshalOptions{}.Format(pools))
	for _, p := range pools.Pools {
		rows, err := a.ListLeases(ctx, &cirrusv1.ListLeasesRequest{Pool: p.Name, PageSize: MaxPage})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows.Leases {
			b.WriteString("\n")
			b.WriteString(string(must(prototext.MarshalOptions{}.Marshal(row))))
		}
	}
	snap, err := st.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range snap.Records {
		b.WriteString("\n" + fmt.Sprintf("%+v", rec))
	}
	return strings.ReplaceAll(b.String(), "  ", " ") // prototext's spaces vary
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
