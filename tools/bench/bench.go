package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Bounds and defaults of Config.
const (
	DefaultFor = 2 * time.Second
	MinFor     = 10 * time.Millisecond
	MaxFor     = 5 * time.Minute
)

// inFlight is the number of calls that are made at a time, where it is not 1.
const inFlight = 64

// Config says what to measure.
type Config struct {
	// For is how long each side of a comparison is measured: MinFor to MaxFor;
	// 0: DefaultFor. The idle service is watched for five times as long.
	For time.Duration
	// Only names the measurements to make, out of Names; none: all.
	Only []string
	// Dir is the directory for the stores that are measured, and so on the disk
	// whose syncs are measured. They are removed at the end. "": the directory for
	// temporary files.
	Dir string
	// Etcd holds the URLs of an etcd's members. Replicas are measured with stores
	// in it, under /cirrus-bench/, which are deleted at the end. None: an etcd of
	// three members is started for the run.
	Etcd []string
	// Profiles is the directory for a CPU profile of each server; "": none.
	Profiles string
	// Log takes the servers' logs, and the name of what is being measured. nil:
	// both are dropped.
	Log io.Writer

	sizes
}

// sizes are smaller in tests than in measurements; 0: the default.
type sizes struct {
	records    int // in the store of a start, and of the crowd
	taken      int // in the store that a replica takes over
	idleLeases int // in an idle service
	rounds     int // slices in which each side of a comparison is measured
}

var defaultSizes = sizes{records: 1_000_000, taken: 100_000, idleLeases: 1000, rounds: 20}

// measurement makes one or more rows that belong together.
type measurement struct {
	name string
	run  func(*measuring) []Row
	etcd bool // it needs an etcd
}

var measurements = []measurement{
	{name: "heartbeat", run: heartbeatConnect},
	{name: "heartbeat-grpc", run: heartbeatGRPC},
	{name: "batch", run: heartbeatBatch},
	{name: "acquire", run: acquireRelease},
	{name: "alone", run: acquireReleaseAlone},
	{name: "generator", run: generatorAlone},
	{name: "generator-8", run: generatorShared},
	{name: "start", run: startLoaded},
	{name: "idle", run: idle},
	{name: "leader", run: heartbeatLeader, etcd: true},
	{name: "grants", run: grantsInEtcd, etcd: true},
	{name: "followers", run: heartbeatFollowers, etcd: true},
	{name: "lone", run: heartbeatLone, etcd: true},
	{name: "idle-etcd", run: idleInEtcd, etcd: true},
	{name: "takeover", run: takeover, etcd: true},
	{name: "crowd", run: crowded}, // the last one, because it lowers this process's priority
}

// Names returns the names of all measurements, in the order in which they are made.
func Names() []string {
	names := make([]string, len(measurements))
	for i, m := range measurements {
		names[i] = m.name
	}
	return names
}

// bench is a run of several measurements.
type bench struct {
	Config
	dir      string // for the stores of this run
	etcd     *room  // nil if no measurement needs it
	children []*child
}

// Run measures. When it returns, every process that it started has ended, and every
// file that it made is removed. An error says what could not be measured; a target
// that is missed is not an error.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	b := &bench{}
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	b.Config = cfg
	return b.run(ctx)
}

func (b *bench) run(ctx context.Context) (_ *Report, err error) {
	// A run ends even if something hangs: a measurement takes some ten times For.
	ctx, cancel := context.WithTimeout(ctx, time.Duration(len(measurements))*(10*b.For+time.Minute))
	defer cancel()
	if b.dir, err = os.MkdirTemp(b.Dir, "cirrus-bench-"); err != nil {
		return nil, fmt.Errorf(
			"making a directory for the stores: %w; give another place with --dir", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	chosen := b.chosen()
	if slices.ContainsFunc(chosen, func(m measurement) bool { return m.etcd }) {
		if b.etcd, err = openRoom(ctx, b.Etcd, b.dir); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, b.etcd.close()) }()
	}
	report := newReport(b.Config)
	for _, m := range chosen {
		_, _ = fmt.Fprintf(b.Log, "measuring %s\n", m.name) // the run does not depend on its log
		rows, err := b.measure(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("measuring %s: %w", m.name, err)
		}
		report.Rows = append(report.Rows, rows...)
	}
	return report, nil
}

// chosen returns the measurements to make.
func (c Config) chosen() []measurement {
	if len(c.Only) == 0 {
		return measurements
	}
	var chosen []measurement
	for _, m := range measurements {
		if slices.Contains(c.Only, m.name) {
			chosen = append(chosen, m)
		}
	}
	return chosen
}

// complete checks the config and fills in the defaults.
func (c *Config) complete() error {
	if c.For == 0 {
		c.For = DefaultFor
	}
	if c.For < MinFor || c.For > MaxFor {
		return fmt.Errorf("--for %v is out of range: give %v to %v", c.For, MinFor, MaxFor)
	}
	for _, name := range c.Only {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("--only %q: there is no such measurement; give some of %s", name,
				strings.Join(Names(), ", "))
		}
	}
	if c.Log == nil {
		c.Log = io.Discard
	}
	if c.sizes == (sizes{}) {
		c.sizes = defaultSizes
	}
	return nil
}
