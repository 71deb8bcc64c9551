package page

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/sim"
)

// The names of machines that are not apps.
const (
	server   = "server"
	etcd     = "etcd"
	operator = "operator"
	world    = "world"
)

// serves reports whether a machine serves: the server, one that takes over the
// server's volume, or a replica.
func serves(machine string) bool {
	return machine == server || strings.HasPrefix(machine, "server-") ||
		strings.HasPrefix(machine, "replica-")
}

// chart is what page.js draws. All times are µs of true time since the start of the
// run. −1 means that there is no such time.
type chart struct {
	End int64 `json:"end"`
	// FaultsEnd is when faults stop.
	FaultsEnd int64         `json:"faultsEnd"`
	Lanes     []*lane       `json:"lanes"`
	Messages  []trip        `json:"messages"`
	Events    []event       `json:"events"`
	Broken    []breakup     `json:"broken"`
	nodes     int           // node IDs that were granted
	length    time.Duration // of the run
}

// lane is a row of the page: a machine or a node ID.
type lane struct {
	Name string `json:"name"`
	// Sort is server (or etcd), operator, app or node.
	Sort string `json:"sort"`
	// Hue is the place of a node ID among the node IDs' lanes.
	Hue   int    `json:"hue"`
	Bars  []bar  `json:"bars"`
	Marks []mark `json:"marks"`
}

// barKind says what a bar stands for. page.js has a way to draw each.
type barKind string

const (
	barLife    barKind = "life"    // a process runs
	barLead    barKind = "lead"    // a replica has the latest term, and is not known to have failed
	barLive    barKind = "live"    // a holder may use its node ID
	barStale   barKind = "stale"   // the deadline has passed, and the app has not been told yet
	barPause   barKind = "pause"   // a machine is paused
	barCut     barKind = "cut"     // a machine is cut off from the network
	barSlow    barKind = "slow"    // a write takes long
	barPending barKind = "pending" // a grant is being written
	barHeld    barKind = "held"    // the server waits for the holder
	barRest    barKind = "rest"    // quarantine
	// its end is not written yet, or server time has not passed its ceiling
	barIdle   barKind = "idle"
	barWindow barKind = "window" // the window
)

// bar is something that lasts for a while.
type bar struct {
	Kind  barKind `json:"k"`
	From  int64   `json:"a"`
	To    int64   `json:"b"`
	Label string  `json:"l,omitempty"`
	Text  string  `json:"x,omitempty"`
	// Lease is the same in all bars of one lease, in all lanes.
	Lease string `json:"e,omitempty"`
	Hue   int    `json:"h"`
}

// mark is something that happens at an instant. Kind is the record's kind.
type mark struct {
	Kind  string `json:"k"`
	At    int64  `json:"a"`
	Text  string `json:"x"`
	Lease string `json:"e,omitempty"`
	Hue   int    `json:"h"`
}

// trip is a message from lane to lane.
type trip struct {
	From   int    `json:"f"`
	To     int    `json:"t"`
	Sent   int64  `json:"a"`
	Came   int64  `json:"b"` // −1: never
	Answer bool   `json:"w,omitempty"`
	Lost   string `json:"z,omitempty"` // why it never came
	Text   string `json:"x"`
}

// event is a record as a sentence.
type event struct {
	N    int    `json:"n"`
	At   int64  `json:"a"`
	Lane int    `json:"l"` // −1: it belongs to no lane
	Kind string `json:"k"`
	Text string `json:"x"`
}

// breakup is a broken promise.
type breakup struct {
	At   int64  `json:"a"`
	Text string `json:"x"`
	// Lanes are those whose names are in Text.
	Lanes []int `json:"l"`
}

func micros(d time.Duration) int64 { return d.Microseconds() }

// newChart makes the chart of a trace.
func newChart(trace []sim.Record) *chart {
	b := newBuilder(trace)
	for i := range trace {
		b.take(&trace[i])
	}
	b.finish()
	return b.chart
}

// builder reads a trace, record by record. It has what has started and not ended.
type builder struct {
	chart    *chart
	end      time.Duration
	machines map[string]*machine
	nodes    map[nodeKey]*node
	calls    map[int]*call
}

func newBuilder(trace []sim.Record) *builder {
	b := &builder{
		chart:    &chart{FaultsEnd: -1, Broken: []breakup{}, Messages: []trip{}},
		end:      trace[len(trace)-1].At,
		machines: map[string]*machine{}, nodes: map[nodeKey]*node{}, calls: map[int]*call{},
	}
	b.chart.End = micros(b.end + b.end/50 + time.Millisecond) // so that the last event can be seen
	b.chart.length = b.end
	b.layOut(trace)
	return b
}

// layOut makes the lanes in their order: machines that serve, etcd, the operator if
// it does anything, apps, node IDs.
func (b *builder) layOut(trace []sim.Record) {
	var machines []string
	var nodes []nodeKey
	for i := range trace {
		r := &trace[i]
		if r.Machine != world && !slices.Contains(machines, r.Machine) {
			machines = append(machines, r.Machine)
		}
		if k := (nodeKey{r.Pool, r.Node}); r.Kind == sim.RecordGrant && !slices.Contains(nodes, k) {
			nodes = append(nodes, k)
		}
	}
	slices.SortFunc(machines, compareMachines)
	slices.SortFunc(nodes, nodeKey.compare)
	for _, name := range machines {
		b.machines[name] = &machine{lane: b.addLane(name, sortOf(name)),
			index: len(b.chart.Lanes) - 1}
	}
	for i, k := range nodes {
		l := b.addLane(k.String(), "node")
		l.Hue = i
		b.nodes[k] = &node{lane: l}
	}
	b.chart.nodes = len(nodes)
}

// addLane adds an empty lane.
func (b *builder) addLane(name, sort string) *lane {
	l := &lane{Name: name, Sort: sort, Bars: []bar{}, Marks: []mark{}}
	b.chart.Lanes = append(b.chart.Lanes, l)
	return l
}

// sortOf returns the Sort of a machine's lane.
func sortOf(machine string) string {
	switch {
	case serves(machine), machine == etcd:
		return server
	case machine == operator:
		return operator
	}
	return "app"
}

// compareMachines puts app-2 before app-10.
func compareMachines(a, b string) int {
	order := func(name string) int {
		switch {
		case serves(name):
			return 0
		case name == etcd:
			return 1
		case name == operator:
			return 2
		}
		return 3
	}
	switch i, j := order(a), order(b); {
	case i != j:
		return i - j
	case len(a) != len(b):
		return len(a) - len(b)
	case a < b:
		return -1
	}
	return 1
}

// take adds a record to the chart.
func (b *builder) take(r *sim.Record) {
	at := -1
	m := b.machines[r.Machine]
	if m != nil {
		at = m.index
	}
	b.chart.Events = append(b.chart.Events,
		event{N: r.N, At: micros(r.At), Lane: at, Kind: string(r.Kind), Text: sentence(r)})
	switch r.Kind {
	case sim.RecordHeal:
		b.chart.FaultsEnd = micros(r.At)
	case sim.RecordViolated:
		b.chart.Broken = append(b.chart.Broken,
			breakup{At: micros(r.At), Text: r.Promise + ": " + r.Text, Lanes: b.lanesIn(r.Text)})
	case sim.RecordSend, sim.RecordArrive, sim.RecordReply, sim.RecordAnswer, sim.RecordDrop:
		b.message(r)
	case sim.RecordGrant, sim.RecordDurable, sim.RecordEnd, sim.RecordDeadline:
		b.nodeOf(r).decided(r)
	}
	if m != nil {
		b.happens(m, r)
	}
}

// lanesIn returns the lanes whose names are in a text.
func (b *builder) lanesIn(text string) []int {
	lanes := []int{}
	for i, l := range b.chart.Lanes {
		if regexp.MustCompile(`\b` + regexp.QuoteMeta(l.Name) + `\b`).MatchString(text) {
			lanes = append(lanes, i)
		}
	}
	return lanes
}

// nodeOf returns the node ID that a record is about, or nil if it is about none
// that was ever granted.
func (b *builder) nodeOf(r *sim.Record) *node { return b.nodes[nodeKey{r.Pool, r.Node}] }

// finish ends everything at the end of the run.
func (b *builder) finish() {
	for _, m := range b.machines {
		m.dies(b.end)
	}
	for _, n := range b.nodes {
		n.finish(b.end)
	}
	b.finishMessages()
	for _, l := range b.chart.Lanes {
		slices.SortStableFunc(l.Bars, func(a, b bar) int { return int(a.From - b.From) })
	}
}
