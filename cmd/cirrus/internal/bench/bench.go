package bench

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

	defaultRecords    = 1_000_000
	defaultTaken      = 100_000
	defaultIdleLeases = 1000
)

// inFlight is how many calls are under way at once, where it is not one.
const inFlight = 64

// Config says what to measure. Server is required.
type Config struct {
	// For is how long each side of a comparison is measured: MinFor to MaxFor;
	// 0: DefaultFor. The idle service is watched for five times as long.
	For time.Duration
	// Only names the experiments to run, out of Names; none: all.
	Only []string
	// Dir is where the stores are made that are measured, and removed again:
	// its disk is what is synced. Empty: the directory for temporary files.
	Dir string
	// Etcd are the URLs of an etcd's members: replicas are measured with stores
	// in it, under /cirrus-bench/, which are deleted again. None: what needs an
	// etcd is left out.
	Etcd []string
	// Server is the start of a command line that calls Serve; the flags --kind,
	// --data, --etcd-endpoints and --etcd-prefix are added to it.
	Server []string
	// Profiles is a directory for a CPU profile of each server; empty: none.
	Profiles string
	// Log takes what the servers have to say, and what is being measured. nil:
	// nobody reads it.
	Log io.Writer

	// records and idleLeases make the package's test fast; 0: the defaults.
	// taken is how many records a takeover finds.
	records, taken, idleLeases, rounds int
}

// experiment measures one or more rows that belong together.
type experiment struct {
	name string
	run  func(context.Context, *bench) ([]Row, error)
	// etcd: it needs one.
	etcd bool
}

var experiments = []experiment{
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
	{name: "crowd", run: crowded}, // last: it lowers the priority of this process
}

// Names are the experiments that there are, in their order.
func Names() []string {
	names := make([]string, len(experiments))
	for i, e := range experiments {
		names[i] = e.name
	}
	return names
}

// bench is a run.
type bench struct {
	Config
	dir  string // for this run alone
	etcd *room  // nil without Config.Etcd
}

// Run measures. Every process and file that it makes is gone when it returns.
//
// An error says what could not be measured; a missed target is none.
func Run(ctx context.Context, cfg Config) (_ *Report, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	// Whatever hangs, the run ends: an experiment takes some ten times For.
	ctx, cancel := context.WithTimeout(ctx, time.Duration(len(experiments))*(10*cfg.For+time.Minute))
	defer cancel()
	dir, err := os.MkdirTemp(cfg.Dir, "cirrus-bench-")
	if err != nil {
		return nil, fmt.Errorf("no place for the stores to measure: %w; name another directory with --dir", err)
	}
	defer func() {
		if e := os.RemoveAll(dir); err == nil {
			err = e
		}
	}()
	b := &bench{Config: cfg, dir: dir}
	if len(cfg.Etcd) > 0 {
		if b.etcd, err = openRoom(ctx, cfg.Etcd); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, b.etcd.close()) }()
	}
	report := newReport(cfg)
	var chosen []experiment
	chosen, report.LeftOut = cfg.chosen()
	for _, e := range chosen {
		b.say("measuring %s", e.name)
		rows, err := e.run(ctx, b)
		if err != nil {
			return nil, fmt.Errorf("measuring %s: %w", e.name, err)
		}
		for i := range rows {
			rows[i].Name = e.name
		}
		report.Rows = append(report.Rows, rows...)
	}
	return report, nil
}

// chosen are the experiments to run, and the names of those that can't be.
func (c Config) chosen() (run []experiment, leftOut []string) {
	for _, e := range experiments {
		switch {
		case len(c.Only) > 0 && !slices.Contains(c.Only, e.name):
		case e.etcd && len(c.Etcd) == 0:
			leftOut = append(leftOut, e.name)
		default:
			run = append(run, e)
		}
	}
	return run, leftOut
}

func (c Config) withDefaults() (Config, error) {
	if c.For == 0 {
		c.For = DefaultFor
	}
	if c.For < MinFor || c.For > MaxFor {
		return c, fmt.Errorf("%v is out of range: measure for %v to %v", c.For, MinFor, MaxFor)
	}
	for _, name := range c.Only {
		if !slices.Contains(Names(), name) {
			return c, fmt.Errorf("there is nothing called %q to measure: give some of %s", name, strings.Join(Names(), ", "))
		}
	}
	if _, leftOut := c.chosen(); len(c.Only) > 0 && len(leftOut) > 0 {
		return c, fmt.Errorf("%s can't be measured without an etcd: name the members of one with --etcd-endpoints", strings.Join(leftOut, ", "))
	}
	if c.Log == nil {
		c.Log = io.Discard
	}
	if c.records == 0 {
		c.records = defaultRecords
	}
	if c.taken == 0 {
		c.taken = defaultTaken
	}
	if c.idleLeases == 0 {
		c.idleLeases = defaultIdleLeases
	}
	if c.rounds == 0 {
		c.rounds = defaultRounds
	}
	return c, nil
}

// say tells what is going on; nothing depends on anybody's hearing it.
func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.Log, format+"\n", args...)
}
