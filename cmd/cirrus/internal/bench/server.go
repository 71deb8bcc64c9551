package bench

import (
	"bufio"
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

// Kind is what a server serves.
type Kind string

// The kinds of servers.
const (
	// Real serves the store in a directory, as `cirrus serve` does.
	Real Kind = "real"
	// Nothing serves a handler that does nothing.
	Nothing Kind = "nothing"
	// Replica serves a store in etcd together with others, as `cirrus serve
	// --store etcd` does.
	Replica Kind = "replica"
)

// ServerConfig is what a server process is told.
type ServerConfig struct {
	Kind Kind
	// Data is the store's directory, for Real.
	Data string
	// Etcd are the URLs of etcd's members, and Prefix is where the store is in
	// it, for Replica.
	Etcd   []string
	Prefix string
	// Profile is where a CPU profile of the process goes; empty: none.
	Profile string
	// Logger takes what goes wrong. Required.
	Logger *slog.Logger
}

// The words that a server is asked with, each in a line of its own.
const (
	askUsage  = "usage"
	askMemory = "memory"
	askLone   = "lone" // and what, as JSON
)

// Hello is a server's first line: it listens.
type Hello struct {
	Addr string `json:"addr"`
	// Metrics is where /metrics and /readyz are; "" for Nothing.
	Metrics string `json:"metrics,omitempty"`
}

// Usage is what a process has used since it started.
type Usage struct {
	CPU        time.Duration `json:"cpu_ns"`
	Allocs     uint64        `json:"allocs"`
	AllocBytes uint64        `json:"alloc_bytes"`
}

func (u Usage) since(earlier Usage) Usage {
	return Usage{CPU: u.CPU - earlier.CPU, Allocs: u.Allocs - earlier.Allocs, AllocBytes: u.AllocBytes - earlier.AllocBytes}
}

// Memory is what a process uses now.
type Memory struct {
	// Heap is Go's heap in use after a garbage collection, in bytes.
	Heap uint64 `json:"heap_bytes"`
	// Resident was what the process had of the machine's memory before that
	// collection, in bytes, what lies outside Go's heap included; 0: unknown.
	Resident uint64 `json:"resident_bytes"`
}

// Serve is a server process: it listens on a port of its own on the loopback
// interface, says so on out, and answers questions that come on in, until in or
// ctx ends. So it can't outlive whoever holds the other end.
func Serve(ctx context.Context, cfg ServerConfig, in io.Reader, out io.Writer) (err error) {
	if cfg.Profile != "" {
		stop, err := profile(cfg.Profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	what, err := cfg.serves(ctx, l.Addr().String())
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() { err = errors.Join(err, what.close()) }()
	served := make(chan error, 2)
	server := service.NewHTTPServer(what.handler, cfg.Logger)
	go func() { served <- server.Serve(l) }()
	defer func() { err = errors.Join(err, server.Close()) }()
	hello := Hello{Addr: l.Addr().String()}
	if what.metrics != nil {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		server := service.NewHTTPServer(what.metrics, cfg.Logger)
		go func() { served <- server.Serve(l) }()
		defer func() { err = errors.Join(err, server.Close()) }()
		hello.Metrics = l.Addr().String()
	}
	asked := make(chan error, 1)
	go func() { asked <- answer(ctx, hello, in, out) }()
	select {
	case err = <-served:
	case err = <-asked:
	case <-ctx.Done():
	}
	return err
}

// content is what a server serves, and how to end it.
type content struct {
	handler, metrics http.Handler // metrics may be nil
	close            func() error
}

// serves is what the kind serves at an address.
func (c ServerConfig) serves(ctx context.Context, addr string) (content, error) {
	switch c.Kind {
	case Nothing:
		return content{handler: nothingHandler(c.Logger), close: func() error { return nil }}, nil
	case Real:
		return c.servesDirectory(ctx)
	case Replica:
		return c.servesEtcd(ctx, "http://"+addr)
	}
	return content{}, fmt.Errorf("kind %q: give %s, %s or %s", c.Kind, Real, Nothing, Replica)
}

func (c ServerConfig) servesDirectory(ctx context.Context) (content, error) {
	st, err := pebble.Open(c.Data, pebble.Options{Logger: c.Logger})
	if err != nil {
		return content{}, err
	}
	svc, err := service.New(ctx, service.Config{Store: st, Steady: steady.New().Exact(), Logger: c.Logger})
	if err != nil {
		return content{}, errors.Join(err, st.Close())
	}
	return content{handler: svc.Handler(), metrics: svc.MetricsHandler(), close: func() error {
		svc.Close()
		return st.Close()
	}}, nil
}

func (c ServerConfig) servesEtcd(ctx context.Context, advertise string) (content, error) {
	trips := service.NewRoundTrips()
	st, err := etcd.Open(etcd.Config{
		Endpoints: c.Etcd, Prefix: c.Prefix, Advertise: advertise, Logger: c.Logger,
		Observe: func(r etcd.RoundTrip) { trips.Observe(string(r.For), r.Took, r.Err) },
	})
	if err != nil {
		return content{}, err
	}
	svc, err := service.New(ctx, service.Config{Cluster: st, RoundTrips: trips, Steady: steady.New().Exact(), Logger: c.Logger})
	if err != nil {
		return content{}, errors.Join(err, st.Close())
	}
	return content{handler: svc.Handler(), metrics: svc.MetricsHandler(), close: func() error {
		svc.Close()
		return st.Close()
	}}, nil
}

// answer says hello and answers until there are no more questions.
func answer(ctx context.Context, hello Hello, in io.Reader, out io.Writer) error {
	reply := json.NewEncoder(out)
	if err := reply.Encode(hello); err != nil {
		return err
	}
	questions := bufio.NewScanner(in)
	for questions.Scan() {
		var a any
		var err error
		switch q, what, _ := strings.Cut(questions.Text(), " "); q {
		case askUsage:
			a, err = usage()
		case askMemory:
			a = memory()
		case askLone:
			var l lone
			if err = json.Unmarshal([]byte(what), &l); err == nil {
				a, err = l.send(ctx)
			}
		default:
			err = fmt.Errorf("question %q: ask for %s, %s or %s", q, askUsage, askMemory, askLone)
		}
		if err == nil {
			err = reply.Encode(a)
		}
		if err != nil {
			return err
		}
	}
	return questions.Err()
}

func usage() (Usage, error) {
	cpu, err := cpuTime()
	counts := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(counts)
	return Usage{CPU: cpu, Allocs: counts[0].Value.Uint64(), AllocBytes: counts[1].Value.Uint64()}, err
}

func memory() Memory {
	m := Memory{Resident: resident()}
	runtime.GC()
	runtime.GC() // what finalizers and pools held on to
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m.Heap = stats.HeapInuse
	return m
}

// resident reads the process's resident memory where the system shows it as
// Linux does.
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
		_ = f.Close() // a profile that is cut off says so when it is read
	}, nil
}
