//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

// TestMain makes the test's binary a server when a measurement starts it as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == serverCommand {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// tiny returns a run that takes seconds and says nothing about speed.
func tiny(t *testing.T) *bench {
	// By default, the race detector delays each server's exit by a second.
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	return &bench{Config: Config{
		For: 20 * time.Millisecond, Dir: t.TempDir(), Log: t.Output(),
		sizes: sizes{records: 1000, taken: 500, idleLeases: 400, rounds: 2},
	}}
}

func TestEveryRowIsMeasured(t *testing.T) {
	b := tiny(t)
	b.Etcd = etcdtest.Start(t, 1).Endpoints()
	report, err := b.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkNothingIsLeft(t, b)
	checkEmpty(t, b.Etcd)
	var names []string
	for _, r := range report.Rows {
		names = append(names, r.Name)
		// The difference of two short measurements can be below 0.
		if r.Ours <= 0 && r.Unit != "each" && r.Unit != "writes/s" && r.Name != "lone" ||
			r.LimitIs != "" && (r.Limit <= 0 || r.Ratio <= 0) {
			t.Errorf("%s was not measured: %+v", r.What, r)
		}
	}
	if got := slices.Compact(slices.Clone(names)); !slices.Equal(got, Names()) {
		t.Errorf("measured %q, want %q", got, Names())
	}
	checkOutput(t, report)
}

// checkOutput checks that every row is printed.
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

// checkNothingIsLeft checks that all servers have ended, and that the stores are
// removed.
func checkNothingIsLeft(t *testing.T, b *bench) {
	t.Helper()
	if len(b.children) == 0 {
		t.Error("no server was started")
	}
	for _, c := range b.children {
		if c.process.Running() {
			t.Errorf("%v is still running", c.process.Args())
		}
	}
	rest, err := os.ReadDir(b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(rest) > 0 {
		t.Errorf("%s was not removed", rest[0].Name())
	}
}

// checkEmpty checks that there is no key in etcd.
func checkEmpty(t *testing.T, endpoints []string) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rest, err := c.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range rest.Kvs {
		t.Errorf("%s was not deleted", kv.Key)
	}
}

func TestServersEndWithTheRun(t *testing.T) {
	b := tiny(t)
	b.For, b.Only = time.Minute, []string{"heartbeat"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// It does not matter how far the measurement gets.
	time.AfterFunc(500*time.Millisecond, cancel)
	if _, err := b.run(ctx); err == nil {
		t.Error("a run that was interrupted returned a report")
	}
	checkNothingIsLeft(t, b)
}

// A failure ends the measurement, and what it opened is closed in reverse order.
func TestFailureEndsMeasurement(t *testing.T) {
	broken, late := errors.New("broken"), errors.New("not closed")
	var closed []string
	rows, err := tiny(t).measure(t.Context(), measurement{name: "x", run: func(r *measuring) []Row {
		r.onEnd(func() error { closed = append(closed, "first"); return late })
		r.onEnd(func() error { closed = append(closed, "second"); return r.ctx.Err() })
		_ = must(1, broken)
		t.Error("the measurement continued after a failure")
		return []Row{{}}
	}})
	if rows != nil || !errors.Is(err, broken) || !errors.Is(err, late) ||
		!errors.Is(err, context.Canceled) {
		t.Errorf(
			"got %v, %v; want no rows, and the errors of the measurement and of what it closed",
			rows, err)
	}
	if want := []string{"second", "first"}; !slices.Equal(closed, want) {
		t.Errorf("closed %q, want %q", closed, want)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--for", "1ms"}, "--for 1ms is out of range: give 10ms to 5m0s"},
		{[]string{"--only", "heartbeat,heart"}, `--only "heart": there is no such measurement`},
		{[]string{"--only", "idle", "--dir", filepath.Join(t.TempDir(), "missing")}, "--dir"},
		{[]string{"-o", "xml"}, "give text or json"},
		{[]string{"heartbeat"}, "no arguments"},
		{[]string{serverCommand, "--kind", "other"}, `--kind "other": give real, replica or nothing`},
	} {
		if err := run(t.Context(), c.args, t.Output(), t.Output()); err == nil ||
			!strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: got %v, want an error with %q", c.args, err, c.says)
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

// The ratio is the median of the rounds' ratios, not the ratio of the medians.
func TestComparison(t *testing.T) {
	ours := []sample{{ops: 1, cpu: 2000}, {ops: 1, cpu: 4000}, {ops: 2, cpu: 18000}}
	limit := []sample{{ops: 1, cpu: 1000}, {ops: 1, cpu: 4000}, {ops: 1, cpu: 2000}}
	row := cpuOf("x", ours, "y", limit, 2, "")
	if row.Ours != 4 || row.Limit != 2 || row.Ratio != 2 || row.Unit != "µs CPU" ||
		!row.judged().Met {
		t.Errorf("got %+v; want 4 µs beside 2 µs, the ratio 2, and the target met", row)
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
			t.Errorf("%+v: Met is %v, want %v", c.row, got, c.met)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 1.15: "1.15", 9.994: "9.99", 34.84: "34.8", 359.6: "360", 1864: "1,864",
		1e6: "1,000,000", 51046.2: "51,046",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v): got %q, want %q", v, got, want)
		}
	}
}
