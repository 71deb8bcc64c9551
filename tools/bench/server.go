package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/internal/steady"
	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// kind is what a server serves.
type kind string

const (
	// onPebble serves the store in a directory, as `cirrus serve` does.
	onPebble kind = "real"
	// onEtcd serves a store in etcd together with others, as `cirrus serve --store
	// etcd` does.
	onEtcd kind = "replica"
	// doesNothing serves a handler that does nothing.
	doesNothing kind = "nothing"
)

// serverConfig is the command line of a server process.
type serverConfig struct {
	Kind kind
	// Data is the store's directory, for onPebble.
	Data string
	// Etcd holds the URLs of etcd's members, and Prefix begins the store's keys, for
	// onEtcd.
	Etcd   []string
	Prefix string
	// Profile is the file for a CPU profile of the process; "": none.
	Profile string
	// Logger takes the server's log. Required.
	Logger *slog.Logger
}

// The questions that a server answers at its control address, by POST.
const (
	askUsage  = "/usage"
	askMemory = "/memory"
	askBeats  = "/beats" // beats, as JSON
)

// hello is what a server prints when it listens.
type hello struct {
	// Addr is where it serves the API. Control is where it answers questions, and
	// where its metrics and /readyz are.
	Addr, Control string
}

// usage is what a process has used since it started.
type usage struct {
	CPU                time.Duration
	Allocs, AllocBytes uint64
}

func (u usage) since(earlier usage) usage {
	return usage{CPU: u.CPU - earlier.CPU, Allocs: u.Allocs - earlier.Allocs,
		AllocBytes: u.AllocBytes - earlier.AllocBytes}
}

// memory is what a process uses now, in bytes.
type memory struct {
	// Heap is Go's heap in use after a garbage collection.
	Heap uint64
	// Resident is the memory of the process before that collection, with what lies
	// outside Go's heap; 0: unknown.
	Resident uint64
}

// serve is a server process. It listens on free loopback ports, prints its addresses
// on out, and serves until in or ctx ends. So it ends with the program that holds
// the other end of in, however that program ends.
func serve(ctx context.Context, cfg serverConfig, in io.Reader, out io.Writer) (err error) {
	if cfg.Profile != "" {
		stop, err := profile(cfg.Profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	content, err := cfg.open(ctx, api.Addr().String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.close()) }()
	failed := make(chan error, 2)
	serving := service.NewHTTPServer(content.api, cfg.Logger)
	go func() { failed <- serving.Serve(api) }()
	defer func() { err = errors.Join(err, serving.Close()) }()
	answering := &http.Server{Handler: controlHandler(content.metrics)}
	go func() { failed <- answering.Serve(control) }()
	defer func() { err = errors.Join(err, answering.Close()) }()
	if err := json.NewEncoder(out).Encode(hello{Addr: api.Addr().String(),
		Control: control.Addr().String()}); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in) // any error is the end, too
	}()
	select {
	case err = <-failed:
	case <-ended:
	case <-ctx.Done():
	}
	return err
}

// content is what a server serves.
type content struct {
	api     http.Handler
	metrics http.Handler // with /readyz
	close   func() error
}

// open opens what the server serves at an address.
func (c serverConfig) open(ctx context.Context, addr string) (content, error) {
	cfg := service.Config{Steady: steady.New().Exact(), Logger: c.Logger}
	var store io.Closer
	switch c.Kind {
	case doesNothing:
		return content{api: nothingHandler(c.Logger), metrics: http.NotFoundHandler(),
			close: func() error { return nil }}, nil
	case onPebble:
		st, err := pebble.Open(c.Data, pebble.Options{Logger: c.Logger})
		if err != nil {
			return content{}, err
		}
		cfg.Store, store = st, st
	case onEtcd:
		trips := service.NewRoundTrips()
		st, err := etcd.Open(etcd.Config{
			Endpoints: c.Etcd, Prefix: c.Prefix, Advertise: "http://" + addr, Logger: c.Logger,
			Observe: func(r etcd.RoundTrip) { trips.Observe(string(r.For), r.Took, r.Err) },
		})
		if err != nil {
			return content{}, err
		}
		cfg.Cluster, cfg.RoundTrips, store = st, trips, st
	default:
		return content{}, fmt.Errorf("--kind %q: give %s, %s or %s", c.Kind, onPebble, onEtcd,
			doesNothing)
	}
	svc, err := service.New(ctx, cfg)
	if err != nil {
		return content{}, errors.Join(err, store.Close())
	}
	return content{api: svc.Handler(), metrics: svc.MetricsHandler(), close: func() error {
		svc.Close()
		return store.Close()
	}}, nil
}

// controlHandler answers questions, and serves metrics at every other path.
func controlHandler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", metrics)
	answer := func(question string, f func(*http.Request) (any, error)) {
		mux.HandleFunc(question, func(w http.ResponseWriter, req *http.Request) {
			a, err := f(req)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_ = json.NewEncoder(w).Encode(a) // the other end reports what does not arrive
		})
	}
	answer(askUsage, func(*http.Request) (any, error) { return ownUsage() })
	answer(askMemory, func(*http.Request) (any, error) { return ownMemory(), nil })
	answer(askBeats, func(req *http.Request) (any, error) {
		var b beats
		if err := json.NewDecoder(req.Body).Decode(&b); err != nil {
			return nil, err
		}
		return b.send(req.Context())
	})
	return mux
}

func ownUsage() (usage, error) {
	cpu, err := cpuTime()
	counts := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(counts)
	return usage{CPU: cpu, Allocs: counts[0].Value.Uint64(), AllocBytes: counts[1].Value.Uint64()},
		err
}

func ownMemory() memory {
	m := memory{Resident: resident()}
	runtime.GC()
	runtime.GC() // frees what finalizers and pools kept during the first one
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m.Heap = stats.HeapInuse
	return m
}

// resident returns the process's resident memory, on systems that show it as Linux
// does; else 0.
func resident() uint64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// profile writes a CPU profile until stop is called.
func profile(path string) (stop func(), err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close() // a truncated profile is reported when it is read
	}, nil
}
