package page

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/sim"
)

func rendered(t *testing.T, r *sim.Result) string {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, r, "0123abc"); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// shown returns the chart in a page.
func shown(t *testing.T, html string) chart {
	t.Helper()
	_, data, _ := strings.Cut(html, `<script type="application/json" id="run">`)
	data, _, found := strings.Cut(data, "</script>")
	var c chart
	if err := json.Unmarshal([]byte(data), &c); !found || err != nil {
		t.Fatalf("the page's data can't be read: %v", err)
	}
	return c
}

// TestPage expects a lane for each machine and for each node ID that was granted,
// and the verdict, on the page of a real run.
func TestPage(t *testing.T) {
	const seed = 7
	r := sim.Run(sim.Config{Seed: seed, Profile: sim.Calm, Trace: true, Canary: seed})
	html := rendered(t, &r)
	c := shown(t, html)
	var names []string
	for _, l := range c.Lanes {
		names = append(names, l.Name)
		if len(l.Bars) == 0 && l.Sort != operator {
			t.Errorf("lane %q has no bar", l.Name)
		}
	}
	for i := range r.Trace {
		rec := &r.Trace[i]
		if rec.Machine != world && !slices.Contains(names, rec.Machine) {
			t.Fatalf("%q has no lane among %q", rec.Machine, names)
		}
		if rec.Kind == sim.RecordGrant &&
			!slices.Contains(names, nodeKey{rec.Pool, rec.Node}.String()) {
			t.Fatalf("node ID %d has no lane among %q", rec.Node, names)
		}
	}
	if len(c.Events) != len(r.Trace) || len(c.Broken) != 1 || len(c.Messages) == 0 {
		t.Errorf("got %d events, want %d; got %d violations, want 1; got %d messages, want some",
			len(c.Events), len(r.Trace), len(c.Broken), len(c.Messages))
	}
	for _, want := range []string{
		"canary is broken", "cirrus sim --seed 7 --profile calm", "0123abc", "What is this?",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// TestReplicas expects a lane for each replica and for etcd, and bars that show who
// leads.
func TestReplicas(t *testing.T) {
	r := sim.Run(sim.Config{Seed: 7, Profile: sim.Envelope, Replicas: 3, Trace: true})
	html := rendered(t, &r)
	c := shown(t, html)
	leads, taken := map[string]int{}, 0
	for _, l := range c.Lanes {
		for _, b := range l.Bars {
			if b.Kind == barLead && b.To > b.From {
				leads[l.Name]++
			}
		}
		for _, m := range l.Marks {
			if m.Kind == string(sim.RecordTerm) {
				taken++
			}
		}
		if is := serves(l.Name) || l.Name == etcd; is != (l.Sort == server) {
			t.Errorf("lane %q has sort %q, want %q for a replica or etcd and no other",
				l.Name, l.Sort, server)
		}
	}
	if len(leads) < 2 || taken < 2 {
		t.Errorf("%d replicas are shown to lead, and %d terms to start, want at least 2 each",
			len(leads), taken)
	}
	names := []string{c.Lanes[0].Name, c.Lanes[1].Name, c.Lanes[2].Name}
	if !slices.Equal(names, []string{"replica-1", "replica-2", "replica-3"}) {
		t.Errorf("the first lanes are %q, want the three replicas in order", names)
	}
	for _, m := range c.Messages {
		if m.From == m.To {
			t.Fatalf("a message has one lane as its start and its end: %+v", m)
		}
	}
}

// TestSelfContained looks for what a page would load.
func TestSelfContained(t *testing.T) {
	r := sim.Run(sim.Config{Seed: 7, Profile: sim.Calm, Trace: true})
	html := rendered(t, &r)
	if found := regexp.MustCompile(
		`(?i)(https?:|//cdn|url\(|@import|<link|<img|<iframe|\bsrc=|fetch\(|XMLHttp)`).FindString(
		html); found != "" {
		t.Errorf("the page has %q, want no reference to another file", found)
	}
	if !strings.Contains(html, `default-src 'none'`) {
		t.Error("the page's policy does not forbid it to load anything")
	}
}

// TestTextsStayTexts puts a script into all texts of a trace. None may become a part
// of the page.
func TestTextsStayTexts(t *testing.T) {
	const evil = `</script><script>alert(1)</script>`
	r := sim.Result{Trace: []sim.Record{
		{Kind: sim.RecordStart, Machine: evil, Node: -1},
		{Kind: sim.RecordLog, Machine: server, Node: -1, Text: evil},
		{Kind: sim.RecordViolated, Machine: world, Node: -1, Promise: evil, Text: evil},
	}}
	html := rendered(t, &r)
	if strings.Contains(html, evil) {
		t.Error("the page has the script as it stands, want it escaped")
	}
	if c := shown(t, html); c.Lanes[1].Name != evil {
		t.Errorf("lanes %q and %q, want the evil name second", c.Lanes[0].Name, c.Lanes[1].Name)
	}
}

func TestNoTrace(t *testing.T) {
	err := Write(&bytes.Buffer{}, &sim.Result{}, "")
	if err == nil || !strings.Contains(err.Error(), "Config.Trace") {
		t.Errorf("error %v, want one that says how to get a trace", err)
	}
}

var errFull = errors.New("disk full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestWriteError(t *testing.T) {
	r := sim.Result{Trace: []sim.Record{{Kind: sim.RecordHeal, Machine: world, Node: -1}}}
	if err := Write(fullDisk{}, &r, ""); !errors.Is(err, errFull) {
		t.Errorf("error %v, want %v", err, errFull)
	}
}

// at returns the time this many seconds after the start.
func at(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// transcript returns a line for each bar and mark of a lane.
func transcript(c *chart, name string) []string {
	var lines []string
	for _, l := range c.Lanes {
		if l.Name != name {
			continue
		}
		for _, b := range l.Bars {
			line := string(b.Kind) + " " + seconds(time.Duration(b.From)*time.Microsecond) + " – " +
				seconds(time.Duration(b.To)*time.Microsecond)
			if b.Label != "" {
				line += " " + b.Label
			}
			lines = append(lines, line)
		}
		for _, m := range l.Marks {
			lines = append(lines, m.Kind+" "+seconds(time.Duration(m.At)*time.Microsecond))
		}
	}
	return lines
}

// TestLanes draws one lease with a TTL of 3 s and a quarantine of 1.5 s: a lost
// heartbeat, a pause beyond the deadline, a late heartbeat, a deadline that the
// server moves, a revocation, a crash.
func TestLanes(t *testing.T) {
	const epoch = 5
	lease := sim.Record{
		Machine: "app-0", Process: 1, Pool: "default", Node: 2, Epoch: epoch,
		Floor: 1000, Ceiling: 4000,
	}
	record := func(kind sim.RecordKind, s float64, change func(*sim.Record)) sim.Record {
		r := lease
		r.Kind, r.At = kind, at(s)
		if change != nil {
			change(&r)
		}
		return r
	}
	on := func(machine string, message int) func(*sim.Record) {
		return func(r *sim.Record) {
			r.Peer = map[bool]string{true: "app-0", false: server}[machine == server]
			r.Machine, r.Message, r.Call = machine, message, "Heartbeat"
		}
	}
	bare := func(machine string, until float64) func(*sim.Record) {
		return func(r *sim.Record) {
			*r = sim.Record{Kind: r.Kind, At: r.At, Machine: machine, Node: -1, Until: at(until)}
		}
	}
	c := newChart([]sim.Record{
		record(sim.RecordStart, 0, bare(server, 0)),
		record(sim.RecordStart, 0.5, bare("app-0", 0)),
		record(sim.RecordGrant, 1,
			func(r *sim.Record) {
				r.Machine, r.Text, r.Until, r.RestUntil = server, "web", at(4),
					at(5.5)
			}),
		record(sim.RecordDurable, 1.1, func(r *sim.Record) { r.Machine = server }),
		record(sim.RecordHold, 1.2, func(r *sim.Record) { r.Until = at(4) }),
		record(sim.RecordMint, 1.5,
			func(r *sim.Record) { r.Floor, r.Ceiling, r.Count = 1500, 1501, 3 }),
		record(sim.RecordSend, 2, on("app-0", 1)),
		record(sim.RecordDrop, 2, on("app-0", 1)),
		record(sim.RecordPause, 3, bare("app-0", 6)),
		record(sim.RecordSend, 6, on("app-0", 2)),
		record(sim.RecordArrive, 6.1, on(server, 2)),
		record(sim.RecordReply, 6.1, func(r *sim.Record) {
			on(server, 2)(r)
			r.Until, r.RestUntil = at(9.1), at(10.6)
		}),
		record(sim.RecordAnswer, 6.2, on("app-0", 2)),
		record(sim.RecordExtend, 6.2, func(r *sim.Record) { r.Until = at(9) }),
		record(sim.RecordDeadline, 6.5,
			func(r *sim.Record) { r.Machine, r.Until, r.RestUntil = server, at(9.5), at(11) }),
		record(sim.RecordEnd, 7, func(r *sim.Record) { r.Machine, r.Text = server, "revoked" }),
		record(sim.RecordCrash, 8, bare("app-0", 0)),
		record(sim.RecordEnd, 12,
			func(r *sim.Record) { r.Machine, r.Text, r.Ceiling = server, "ended", 9000 }),
	})
	for name, want := range map[string][]string{
		"app-0": {
			"life 0.500 s – 8.000 s", "live 1.200 s – 4.000 s node ID 2",
			"pause 3.000 s – 6.000 s", "stale 4.000 s – 6.200 s",
			"live 6.200 s – 8.000 s node ID 2",
			"start 0.500 s", "hold 1.200 s", "mint 1.500 s", "crash 8.000 s",
		},
		"node ID 2": {
			"pending 1.000 s – 1.100 s", "window 1.000 s – 9.000 s", "held 1.100 s – 4.000 s app-0",
			"rest 4.000 s – 5.500 s", "idle 5.500 s – 6.100 s",
			"held 6.100 s – 9.500 s app-0", "rest 9.500 s – 11.000 s", "idle 11.000 s – 12.000 s",
			"used 1.500 s", "revoked 7.000 s", "ended 12.000 s",
		},
	} {
		if got := transcript(c, name); !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	lost, came := c.Messages[0], c.Messages[1:]
	if lost.Came != -1 || lost.Lost == "" || len(came) != 2 || came[0].Came != 6_100_000 ||
		came[1].Came != 6_200_000 || !came[1].Answer {
		t.Errorf("got messages %+v, want a lost heartbeat, one that arrived and its answer",
			c.Messages)
	}
}

// TestSentences expects the sentence about each kind of record to name its machine
// or its node ID.
func TestSentences(t *testing.T) {
	for _, kind := range []sim.RecordKind{
		sim.RecordStart, sim.RecordExit, sim.RecordCrash, sim.RecordSend, sim.RecordArrive,
		sim.RecordReply, sim.RecordAnswer, sim.RecordDrop,
		sim.RecordGrant, sim.RecordDurable, sim.RecordEnd, sim.RecordHold, sim.RecordExtend,
		sim.RecordLapse, sim.RecordMint,
		sim.RecordDeadline, sim.RecordSettings, sim.RecordPause, sim.RecordClock, sim.RecordNetwork,
		sim.RecordDisk, sim.RecordOperate, sim.RecordLog, "something new",
	} {
		text := sentence(&sim.Record{Kind: kind, Machine: "app-3", Peer: server, Message: 8,
			Call: "Release", Pool: "other", Node: 4, Epoch: 1<<40 + 7, Text: "because"})
		if !strings.Contains(text, "app-3") && !strings.Contains(text, "node ID 4 of pool other") &&
			kind != sim.RecordOperate {
			t.Errorf(
				"the sentence about a record of kind %q is %q, want it to name the machine or the node ID", kind, text)
		}
	}
}
