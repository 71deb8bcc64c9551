package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf16"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// outputFlag is -o: "table" for people, "json" for programs.
type outputFlag string

const (
	asTable outputFlag = "table"
	asJSON  outputFlag = "json"
)

// addOutput adds the flag that chooses how results are printed.
func addOutput(cmd *cobra.Command) *outputFlag {
	o := asTable
	cmd.Flags().VarP(&o, "output", "o", "`format` of what is printed: table or json")
	return &o
}

// Set takes one of the two.
func (o *outputFlag) Set(s string) error {
	if s != string(asTable) && s != string(asJSON) {
		return fmt.Errorf("%q is no format: give table or json", s)
	}
	*o = outputFlag(s)
	return nil
}

// String gives the format's name.
func (o *outputFlag) String() string { return string(*o) }

// Type names the kind of value.
func (o *outputFlag) Type() string { return "format" }

// field is one cell of a table, with its name on the wire.
type field struct{ name, value string }

// printOne prints one result: a field a line, or the message as JSON.
func printOne(w io.Writer, o outputFlag, msg proto.Message, fields []field) error {
	if o == asJSON {
		text, err := toJSON(msg)
		if err != nil {
			return err
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, text, "", "  "); err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", pretty.Bytes())
		return err
	}
	return printFields(w, fields)
}

func printFields(w io.Writer, fields []field) error {
	t := newTable(w)
	for _, f := range fields {
		t.line([]string{f.name, f.value})
	}
	return t.flush()
}

// list prints many results as they come: rows under a heading, or the elements
// of a JSON array.
type list struct {
	w     io.Writer
	json  bool
	table table
	rows  int
}

// newList begins a list whose rows have the same fields as heading.
func newList(w io.Writer, o outputFlag, heading []field) *list {
	l := &list{w: w, json: o == asJSON, table: newTable(w)}
	if !l.json {
		l.table.line(names(heading))
	}
	return l
}

func (l *list) add(msg proto.Message, row []field) error {
	if !l.json {
		l.table.line(values(row))
		return nil
	}
	text, err := toJSON(msg)
	if err != nil {
		return err
	}
	between := ",\n"
	if l.rows == 0 {
		between = "[\n"
	}
	l.rows++
	_, err = fmt.Fprintf(l.w, "%s  %s", between, text)
	return err
}

// page lets what was added be seen; columns line up within a page.
func (l *list) page() error { return l.table.flush() }

func (l *list) end() error {
	if !l.json {
		return l.page()
	}
	end := "\n]\n"
	if l.rows == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(l.w, end)
	return err
}

// stream prints many results, each as soon as it is there: rows under a
// heading, or one line of JSON each.
type stream struct {
	w      io.Writer
	json   bool
	widths []int
}

// newStream begins a stream of rows that have the same fields as heading. The
// columns are at least as wide as widths; the last one needs none.
func newStream(w io.Writer, o outputFlag, heading []field, widths []int) (*stream, error) {
	s := &stream{w: w, json: o == asJSON, widths: widths}
	if s.json {
		return s, nil
	}
	return s, s.line(names(heading))
}

func (s *stream) add(msg proto.Message, row []field) error {
	if !s.json {
		return s.line(values(row))
	}
	text, err := toJSON(msg)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.w, "%s\n", text)
	return err
}

func (s *stream) line(cells []string) error {
	var text strings.Builder
	for i, c := range cells {
		if i < len(s.widths) {
			fmt.Fprintf(&text, "%-*s  ", s.widths[i], printable(c))
		} else {
			text.WriteString(printable(c))
		}
	}
	_, err := fmt.Fprintln(s.w, text.String())
	return err
}

// table lines up columns. It keeps what it is given until flush.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer) table {
	return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
}

// line adds a row. An error of the writer below comes back from flush.
func (t table) line(cells []string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	_, _ = fmt.Fprintln(t, strings.Join(cells, "\t"))
}

func (t table) flush() error { return t.Flush() }

// names are a heading's cells.
func names(row []field) []string {
	cells := make([]string, len(row))
	for i, f := range row {
		cells[i] = strings.ToUpper(f.name)
	}
	return cells
}

func values(row []field) []string {
	cells := make([]string, len(row))
	for i, f := range row {
		cells[i] = f.value
	}
	return cells
}

// printable quotes a cell that could do something to a terminal or to the
// table: app IDs are whatever somebody sent.
func printable(s string) string {
	quoted := strconv.Quote(s)
	if s == "" || quoted != `"`+s+`"` || strings.TrimSpace(s) != s {
		return quoted
	}
	return s
}

// toJSON gives a message on one line, as the API does, with fields that are 0.
func toJSON(msg proto.Message) ([]byte, error) {
	text, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(msg)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer // protojson's spacing is random on purpose
	if err := json.Compact(&compact, text); err != nil {
		return nil, err
	}
	return escape(compact.Bytes()), nil
}

// escape writes what isn't printable as \u: JSON itself demands that for some
// control characters only, and terminals obey others, too. In JSON on one line
// such characters can stand nowhere but in strings.
func escape(text []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(text) {
		if strconv.IsPrint(r) {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	return out.Bytes()
}

// shortDuration is a duration for people; "-" if there is none.
func shortDuration(d *durationpb.Duration) string {
	if d == nil {
		return "-"
	}
	return d.AsDuration().Round(100 * time.Millisecond).String()
}
