package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/sim"
)

// The table of a trace.
const (
	tableWidth   = 150
	tableMargin  = 21 // event and time
	tableColumns = 30 // the widest that a machine's column gets
	tableHeading = 60 // rows between two headings
)

// traceTable is a column for each machine, in which a line shows what goes on:
// │ a process runs, ┃ its app holds a node ID, ╎ the machine is paused. What
// happens stands beside its machine's line, on the side that has the room.
type traceTable struct {
	w       *bufio.Writer
	names   []string
	step    int
	running []rune
	paused  []time.Duration // until when
	rows    int
}

func writeTraceTable(w io.Writer, trace []sim.Record) error {
	t := &traceTable{w: bufio.NewWriter(w)}
	for i := range trace {
		if name := trace[i].Machine; name != "world" && !slices.Contains(t.names, name) {
			t.names = append(t.names, name)
		}
	}
	slices.SortFunc(t.names, compareMachines)
	t.step = min(tableColumns, (tableWidth-tableMargin)/max(1, len(t.names)))
	t.running = []rune(strings.Repeat(" ", len(t.names)))
	t.paused = make([]time.Duration, len(t.names))
	for i := range trace {
		t.add(&trace[i])
	}
	return t.w.Flush()
}

// compareMachines: who serves, etcd, the operator, and the apps by their
// numbers.
func compareMachines(a, b string) int {
	rank := func(name string) string {
		switch {
		case strings.HasPrefix(name, "server"), strings.HasPrefix(name, "replica-"):
			return "0" + name
		case name == "etcd":
			return "1"
		case name == "operator":
			return "2"
		}
		return fmt.Sprintf("3%4d%s", len(name), name)
	}
	return strings.Compare(rank(a), rank(b))
}

func (t *traceTable) column(i int) int { return tableMargin + i*t.step }

func (t *traceTable) add(r *sim.Record) {
	if t.rows%tableHeading == 0 {
		t.heading()
	}
	t.rows++
	i := slices.Index(t.names, r.Machine)
	row := t.lines(r.At)
	copy(row, []rune(fmt.Sprintf("%7d %11.6f ", r.N, r.At.Seconds())))
	if i < 0 {
		t.across(row, r)
		return
	}
	row[t.column(i)] = sign(r.Kind)
	t.beside(row, t.column(i), []rune(recordWords(r)))
	t.print(row)
	t.follow(i, r)
}

func (t *traceTable) heading() {
	row := []rune(strings.Repeat(" ", tableWidth))
	copy(row, []rune("  event        time"))
	for i, name := range t.names {
		copy(row[t.column(i):], []rune(name))
	}
	t.print(row)
}

// lines returns a row in which nothing happens.
func (t *traceTable) lines(at time.Duration) []rune {
	row := []rune(strings.Repeat(" ", tableWidth))
	for i, c := range t.running {
		if c != ' ' && at < t.paused[i] {
			c = '╎'
		}
		row[t.column(i)] = c
	}
	return row
}

// follow notes what the record changes.
func (t *traceTable) follow(i int, r *sim.Record) {
	switch r.Kind {
	case sim.RecordStart, sim.RecordLapse:
		t.running[i] = '│'
	case sim.RecordHold:
		t.running[i] = '┃'
	case sim.RecordExit, sim.RecordCrash:
		t.running[i] = ' '
	case sim.RecordPause:
		t.paused[i] = max(t.paused[i], r.Until)
	}
}

// beside puts words to the right of a column, or to the left if they fit only there.
func (t *traceTable) beside(row []rune, column int, words []rune) {
	right, left := tableWidth-column-2, column-tableMargin-1
	if len(words) > right && left > right {
		words = cut(words, left)
		copy(row[column-1-len(words):], words)
		row[column-1] = ' '
		return
	}
	words = cut(words, right)
	row[column+1] = ' '
	copy(row[column+2:], words)
	if end := column + 2 + len(words); end < tableWidth {
		row[end] = ' '
	}
}

// cut shortens words to n characters.
func cut(words []rune, n int) []rune {
	if len(words) <= n {
		return words
	}
	return append(slices.Clone(words[:n-1]), '…')
}

// across writes what concerns all machines, in as many lines as it takes.
func (t *traceTable) across(row []rune, r *sim.Record) {
	words := strings.Fields(recordWords(r))
	line := []rune("══ ")
	for len(words) > 0 {
		word := []rune(words[0] + " ")
		if tableMargin+len(line)+len(word) > tableWidth && len(line) > 3 {
			t.print(append(row[:tableMargin:tableMargin], line...))
			row, line = []rune(strings.Repeat(" ", tableMargin)), []rune("══ ")
			continue
		}
		line, words = append(line, word...), words[1:]
	}
	t.print(append(row[:tableMargin:tableMargin], line...))
}

// print ends a row. Flush returns the error if it can't be written.
func (t *traceTable) print(row []rune) {
	_, _ = t.w.WriteString(strings.TrimRight(string(row), " ") + "\n")
}

func sign(k sim.RecordKind) rune {
	switch k {
	case sim.RecordStart:
		return '▶'
	case sim.RecordExit:
		return '■'
	case sim.RecordCrash:
		return '✖'
	case sim.RecordDrop:
		return '×'
	case sim.RecordTerm:
		return '★'
	case sim.RecordDeposed:
		return '☆'
	}
	return '●'
}

// recordWords returns a record in a few words, without its machine.
func recordWords(r *sim.Record) string {
	var w strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&w, format, args...) }
	switch r.Kind {
	case sim.RecordSend:
		say("→ %s #%d", r.Call, r.Message)
	case sim.RecordArrive:
		say("%s ← %s #%d", r.Peer, r.Call, r.Message)
	case sim.RecordReply:
		say("%s → answer to %s #%d", r.Peer, r.Call, r.Message)
	case sim.RecordAnswer:
		say("← answer to %s #%d", r.Call, r.Message)
	case sim.RecordDrop:
		say("%s #%d to %s is lost", r.Call, r.Message, r.Peer)
	case sim.RecordHeal:
		say("faults stop")
	case sim.RecordViolated:
		say("BROKEN: %s", r.Promise)
	default:
		say("%s", r.Kind)
	}
	if r.Node >= 0 {
		say(" node %d", r.Node)
	}
	if r.Epoch != 0 {
		say(" epoch …%06d", r.Epoch%1e6)
	}
	if r.Ceiling != 0 {
		say(" [%d, +%d ms]", r.Floor%1e9, r.Ceiling-r.Floor)
	}
	if r.Count != 0 {
		say(" ×%d", r.Count)
	}
	if r.Until != 0 {
		say(" until %.3f", r.Until.Seconds())
	}
	if r.Text != "" && r.Text != "lost" {
		say(": %s", r.Text)
	}
	return w.String()
}
