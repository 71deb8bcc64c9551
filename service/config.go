package service

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"github.com/jonboulle/clockwork"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// Steady reads the steady clock: it never goes back, and counts the time that
// the machine was suspended. It must not be read from a cache: what a server may
// promise is counted from it (S10).
type Steady interface {
	Now() time.Duration
}

// Config is what a service is made of.
type Config struct {
	// Store keeps what must survive. Nobody else may serve it. Either Store or
	// Cluster is required. The caller closes it, after Close has returned.
	Store store.Store
	// Cluster is a store that this replica shares with others. The caller
	// closes it, after Close has returned.
	Cluster store.Cluster
	// DefaultPool is what the default pool should be like. It is applied whenever
	// a term starts. What can't be applied is New's error with a Store, and logged
	// with a Cluster. A store that the service creates in a Cluster gets the pool
	// so, and the defaults for the rest. Zero: the pool stays as it is stored.
	DefaultPool fencing.PoolChange
	// Reach returns the HTTP client for the replica at an address, which is a base
	// URL. Default: one that notices within seconds that the other replica is gone.
	Reach func(address string) connect.HTTPClient
	// RoundTrips are the Cluster's, for the metrics. Default: none.
	RoundTrips *RoundTrips
	// Clock gives the wall clock, which only server time reads (S8), and timers.
	// Default: the machine's.
	Clock clockwork.Clock
	// Steady measures every duration. Required.
	Steady Steady
	// Stride is how far ahead the mark is written: 100 ms to 1 h, default 10 s.
	// Where the store was served with a longer one before, what rests on that one
	// keeps it until it has passed once.
	Stride time.Duration
	// Browsers says which web pages may send requests. Default: none.
	Browsers *Browsers
	// SuspectFor is the least time that pools which are not opened must be served
	// before they grant (S7): 0 to fencing.MaxSuspicion. The store remembers the
	// longest that it was ever served with. Default: 0, so a pool's own longest
	// TTL, quarantine and stride count.
	SuspectFor time.Duration
	// Logger takes what an operator should know. Its handler must not block: no
	// promise waits for it, but a takeover or the end of the process may (S14).
	// Default: slog.Default().
	Logger *slog.Logger
	// DroppedLogLines returns how many lines of the log were lost, for the metrics.
	// Default: the metrics do not show it.
	DroppedLogLines func() uint64
	// DiskSpace returns the free and all bytes of the store's disk, for the metrics,
	// and false where they are not known. Default: the metrics do not show them.
	DiskSpace func() (free, size uint64, known bool)
	// Random is the source of the instance IDs that the server makes for requests
	// without one, and of the ID of a store that it creates. Default: crypto/rand.
	Random io.Reader
	// Runner is how the service starts goroutines and waits; for simulators.
	// Default: goroutines.
	Runner Runner
	// Observer is told what no answer shows; for simulators and tests. Default:
	// nobody is told.
	Observer Observer
	// Version is what the service says it is. Default: "devel".
	Version string
}

func (c Config) withDefaults() (Config, error) {
	if (c.Store == nil) == (c.Cluster == nil) || c.Steady == nil {
		return c, errors.New("service: Config needs a Steady clock, and a Store or a Cluster")
	}
	if c.SuspectFor < 0 || c.SuspectFor > fencing.MaxSuspicion {
		return c, fmt.Errorf("suspecting a new store for %v is out of range: give 0 to %v",
			c.SuspectFor, time.Duration(fencing.MaxSuspicion))
	}
	if c.Clock == nil {
		c.Clock = clockwork.NewRealClock()
	}
	if c.Stride == 0 {
		c.Stride = fencing.DefaultStride
	}
	if c.Browsers == nil {
		c.Browsers = &Browsers{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Runner == nil {
		c.Runner = goroutines{}
	}
	if c.Version == "" {
		c.Version = "devel"
	}
	return c, nil
}

// Limits of LeaseService.
const (
	// MaxWait is how long an Acquire may wait for a free node ID.
	MaxWait = fencing.MaxWait
	// MaxBatch is how many heartbeats a HeartbeatBatch may have.
	MaxBatch = 1024
)

// storeTimeout is how long a request waits for the store, all its waits together:
// it is soon answered when the store hangs (S9).
const storeTimeout = 2 * time.Second
