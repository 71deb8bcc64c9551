package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cirrus-id/cirrus/sim"
)

// A table has a column for each machine, whose line shows what goes on.
func TestTraceTable(t *testing.T) {
	ms := time.Millisecond
	trace := []sim.Record{
		{N: 0, Kind: sim.RecordStart, Machine: "app-10", Process: 1, Node: -1},
		{N: 1, At: 1 * ms, Kind: sim.RecordStart, Machine: "app-2", Process: 1, Node: -1},
		{N: 2, At: 2 * ms, Kind: sim.RecordStart, Machine: "server", Process: 1, Node: -1},
		{N: 3, At: 3 * ms, Kind: sim.RecordHold, Machine: "app-2", Node: 7, Epoch: 1000005,
			Floor: 100, Ceiling: 3100, Until: time.Second, Text: "held"},
		{N: 4, At: 4 * ms, Kind: sim.RecordPause, Machine: "server", Node: -1, Until: 6 * ms,
			Text: "asleep"},
		{N: 5, At: 5 * ms, Kind: sim.RecordCrash, Machine: "app-10", Node: -1},
		{N: 6, At: 6 * ms, Kind: sim.RecordViolated, Machine: "world", Node: -1,
			Promise: "P1 exclusion", Text: "both hold it"},
	}
	const want = `
  event        time  server                        app-2                         app-10
      0    0.000000                                                              ▶ start
      1    0.001000                                ▶ start                       │
      2    0.002000  ▶ start                       │                             │
      3    0.003000  │                             ● hold node 7 epoch …000005 [100, +3000 ms] until 1.000: held
      4    0.004000  ● pause until 0.006: asleep   ┃                             │
      5    0.005000  ╎                             ┃                             ✖ crash
      6    0.006000  ══ BROKEN: P1 exclusion: both hold it
`
	var out bytes.Buffer
	if err := writeTraceTable(&out, trace); err != nil {
		t.Fatal(err)
	}
	if out.String() != strings.TrimPrefix(want, "\n") {
		t.Errorf("the table is\n%s\nwant%s", out.String(), want)
	}
}

// However many machines there are and however much is said, a line fits.
func TestTraceTableWidth(t *testing.T) {
	var trace []sim.Record
	long := strings.Repeat("wörds and ", 30)
	for _, name := range []string{"server", "operator", "app-0", "app-1", "app-2", "app-3", "app-4",
		"app-5", "app-6", "app-7", "app-8", "app-9", "app-10", "app-11", "world"} {
		trace = append(trace, sim.Record{Kind: sim.RecordStart, Machine: name, Node: -1},
			sim.Record{Kind: sim.RecordLog, Machine: name, Node: -1, Text: long})
	}
	var out bytes.Buffer
	if err := writeTraceTable(&out, trace); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > tableWidth {
			t.Errorf("a line of %d: %s", n, line)
		}
	}
	if got := strings.Join(strings.Fields(strings.ReplaceAll(out.String(), "══", "")),
		" "); !strings.Contains(got, strings.TrimSpace(long)) {
		t.Error("what concerns all is not whole")
	}
}

func TestProgressBar(t *testing.T) {
	var out bytes.Buffer
	b := newProgressBar(&out, 0)
	for s := range 25 {
		b.show(sim.Progress{Done: 100 * s, Seeds: 5000, Elapsed: time.Duration(s) * time.Second,
			Situations: s, OfSituations: 34})
	}
	b.end()
	const plain = "1000 of 5000 seeds, 100 a second, 10 of 34 situations, 0 broken\n2000 of 5000 seeds, 100 a second, 20 of 34 situations, 0 broken\n"
	if out.String() != plain {
		t.Errorf("progress is\n%swant\n%s", out.String(), plain)
	}
	for _, c := range []struct {
		limit time.Duration
		p     sim.Progress
		want  string
	}{
		{0, sim.Progress{Done: 1, Seeds: 4}, "[██████··················]"},
		{time.Minute, sim.Progress{Done: 1, Elapsed: 30 * time.Second},
			"[████████████············]"},
		{time.Minute, sim.Progress{Done: 9, Elapsed: 2 * time.Minute},
			"[████████████████████████]"},
	} {
		if got := drawBar(newProgressBar(&out, c.limit).share(c.p)); got != c.want {
			t.Errorf("%+v: %s, want %s", c.p, got, c.want)
		}
	}
}
