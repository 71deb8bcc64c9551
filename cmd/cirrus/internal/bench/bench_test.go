//go:build unix

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/cirrus-id/cirrus/internal/etcdtest"
)

// beServer makes the test's binary a server, as the hidden command of cirrus
// does, which notes its process ID in the directory of the argument after it.
const beServer = "be-a-server-in"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == beServer {
		if err := serve(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func serve(pids string, args []string) error {
	cfg := ServerConfig{Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	f := flag.NewFlagSet(beServer, flag.ContinueOnError)
	f.StringVar((*string)(&cfg.Kind), "kind", "", "")
	f.StringVar(&cfg.Data, "data", "", "")
	f.StringVar(&cfg.Prefix, "etcd-prefix", "", "")
	f.Func("etcd-endpoints", "", func(urls string) error {
		cfg.Etcd = strings.Split(urls, ",")
		return nil
	})
	f.StringVar(&cfg.Profile, "profile", "", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(pids, fmt.Sprint(os.Getpid())), nil, 0o600); err != nil {
		return err
	}
	return Serve(context.Background(), cfg, os.Stdin, os.Stdout)
}

// tiny is a run that is over in seconds and says nothing about speed.
func tiny(t *testing.T) (cfg Config, pids string) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pids = t.TempDir()
	// Else the race detector keeps every server for a second at its end.
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	return Config{
		For: 20 * time.Millisecond, Dir: t.TempDir(), Server: []string{self, beServer, pids}, Log: t.Output(),
		records: 1000, taken: 500, idleLeases: 400, rounds: 2,
	}, pids
}

func TestEveryRowIsMeasured(t *testing.T) {
	cfg, pids := tiny(t)
	cfg.Etcd = etcdtest.Start(t, 1).Endpoints()
	report, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	checkEnded(t, cfg, pids, 38)
	checkEmpty(t, cfg.Etcd)
	var names []string
	for _, r := range report.Rows {
		names = append(names, r.Name)
		// A difference of two short measurements may come out below 0.
		if r.Ours <= 0 && r.Unit != "each" && r.Unit != "writes/s" && r.Name != "lone" || r.LimitIs != "" && (r.Limit <= 0 || r.Ratio <= 0) {
			t.Errorf("%s was not measured: %+v", r.What, r)
		}
	}
	if got := slices.Compact(slices.Clone(names)); !slices.Equal(got, Names()) {
		t.Errorf("measured %q, want %q", got, Names())
	}
	checkOutput(t, report)
}

// checkOutput looks for every row in what is printed.
func checkOutput(t *testing.T, report *Report) {
	var table, text bytes.Buffer
	if err := report.Table(&table); err != nil {
		t.Fatal(err)
	}
	if err := report.JSON(&text); err != nil {
		t.Fatal(err)
	}
	var read Report
	if err := json.Unmarshal(text.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(read.Rows, report.Rows) {
		t.Errorf("as JSON the rows are\n%+v\nwant\n%+v", read.Rows, report.Rows)
	}
	for _, r := range report.Rows {
		if !strings.Contains(table.String(), r.What) || !strings.Contains(table.String(), r.Note) {
			t.Errorf("the table lacks %q, %q:\n%s", r.What, r.Note, table.String())
		}
	}
	t.Logf("\n%s", table.String())
}

// checkEnded: so many servers have run, none runs any more, and nothing is left
// of the stores.
func checkEnded(t *testing.T, cfg Config, pids string, servers int) {
	t.Helper()
	started, err := os.ReadDir(pids)
	if err != nil {
		t.Fatal(err)
	}
	if len(started) != servers {
		t.Errorf("%d servers were started, want %d", len(started), servers)
	}
	for _, pid := range started {
		if runs(pid.Name()) {
			t.Errorf("the server with process ID %s is still there", pid.Name())
		}
	}
	left, err := os.ReadDir(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("%s was left behind", left[0].Name())
	}
}

// checkEmpty: nothing is left in etcd.
func checkEmpty(t *testing.T, endpoints []string) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	left, err := c.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range left.Kvs {
		t.Errorf("%s was left behind", kv.Key)
	}
}

// TestWithoutEtcd: what needs one is left out, and said to be.
func TestWithoutEtcd(t *testing.T) {
	run, leftOut := Config{}.chosen()
	for _, e := range run {
		if e.etcd {
			t.Errorf("%s would be run", e.name)
		}
	}
	if len(leftOut) == 0 || len(run)+len(leftOut) != len(Names()) {
		t.Errorf("%d experiments would be run, and %q left out", len(run), leftOut)
	}
	var table bytes.Buffer
	if err := (&Report{LeftOut: leftOut}).Table(&table); err != nil {
		t.Fatal(err)
	}
	if want := "not measured without --etcd-endpoints: " + strings.Join(leftOut, ", "); !strings.Contains(table.String(), want) {
		t.Errorf("the table lacks %q:\n%s", want, table.String())
	}
}

func TestServersEndWithTheRun(t *testing.T) {
	cfg, pids := tiny(t)
	cfg.For, cfg.Only = time.Minute, []string{"heartbeat"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg.Log = writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "measuring heartbeat") {
			// It has begun; how far it gets doesn't matter.
			time.AfterFunc(100*time.Millisecond, cancel)
		}
		return t.Output().Write(p)
	})
	if _, err := Run(ctx, cfg); err == nil {
		t.Error("a run that was cut short gave a report")
	}
	started, err := os.ReadDir(pids)
	if err != nil {
		t.Fatal(err)
	}
	checkEnded(t, cfg, pids, len(started))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		says   string
	}{
		{func(c *Config) { c.For = time.Millisecond }, "1ms is out of range: measure for 10ms to 5m0s"},
		{func(c *Config) { c.Only = []string{"heartbeat", "heart"} }, `nothing called "heart"`},
		{func(c *Config) { c.Only = []string{"takeover"} }, "takeover can't be measured without an etcd: name the members of one with --etcd-endpoints"},
		{func(c *Config) { c.Dir = filepath.Join(c.Dir, "gone") }, "--dir"},
		{func(c *Config) { c.Server = []string{filepath.Join(c.Dir, "gone")} }, "can't be started"},
	} {
		cfg, _ := tiny(t)
		c.change(&cfg)
		if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("got %v, want an error with %q", err, c.says)
		}
	}
}

func TestMiddle(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 2}, 2}} {
		if got := middle(slices.Clone(c.values)); got != c.want {
			t.Errorf("the middle of %v: got %v, want %v", c.values, got, c.want)
		}
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		row Row
		met bool
	}{
		{Row{Ours: 9, Limit: 1, LimitIs: "x", Ratio: 1.5, Target: Target{"≤", 1.5}}, true},
		{Row{Ours: 9, Limit: 1, LimitIs: "x", Ratio: 1.6, Target: Target{"≤", 1.5}}, false},
		{Row{Ours: 2, Target: Target{"<", 2}}, false},
		{Row{Ours: 1.9, Target: Target{"<", 2}}, true},
		{Row{Ours: 1, Limit: 1, LimitIs: "x", Ratio: 1, Target: Target{"≥", 1}}, true},
		{Row{Ours: 1, Limit: 1, LimitIs: "x", Ratio: 0.9, Target: Target{"≥", 1}}, false},
	} {
		if got := c.row.judged().Met; got != c.met {
			t.Errorf("%+v: met is %v", c.row, got)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 1.15: "1.15", 9.994: "9.99", 34.84: "34.8", 359.6: "360", 1864: "1,864", 1e6: "1,000,000", 51046.2: "51,046",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v): got %q, want %q", v, got, want)
		}
	}
}
