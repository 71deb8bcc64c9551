package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode/utf16"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Format is a flag that chooses how results are printed.
type Format string

// The formats: a table for people, and JSON for programs.
const (
	asTable Format = "table"
	AsJSON  Format = "json"
)

// AddFormat adds the flag -o.
func AddFormat(cmd *cobra.Command) *Format {
	o := asTable
	cmd.Flags().VarP(&o, "output", "o", "`format` of what is printed: table or json")
	return &o
}

// Set implements pflag.Value.
func (o *Format) Set(s string) error {
	if s != string(asTable) && s != string(AsJSON) {
		return fmt.Errorf("%q is no format: give table or json", s)
	}
	*o = Format(s)
	return nil
}

// String returns the format's name.
func (o *Format) String() string { return string(*o) }

// Type names the kind of value.
func (o *Format) Type() string { return "format" }

// Field is one cell of a table: its name on the wire and its value.
type Field [2]string

// Name returns the field's name on the wire.
func (f Field) Name() string { return f[0] }

// Value returns the field's value as text.
func (f Field) Value() string { return f[1] }

// PrintOne prints one result: as a table with a field on each line, or as JSON.
func PrintOne(w io.Writer, o Format, msg proto.Message, fields []Field) error {
	if o == AsJSON {
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
	return PrintFields(w, fields)
}

// PrintFields prints a table with a field on each line.
func PrintFields(w io.Writer, fields []Field) error {
	t := NewTable(w)
	for _, f := range fields {
		t.Line([]string{f.Name(), f.Value()})
	}
	return t.Flush()
}

// List prints many results as a table with a heading, or as a JSON array.
type List struct {
	w     io.Writer
	json  bool
	table table
	rows  int
}

// NewList starts a list. The heading has the names of its columns.
func NewList(w io.Writer, o Format, heading []Field) *List {
	l := &List{w: w, json: o == AsJSON, table: NewTable(w)}
	if !l.json {
		l.table.Line(names(heading))
	}
	return l
}

// Add adds a result. A table shows it after the next Page.
func (l *List) Add(msg proto.Message, row []Field) error {
	if !l.json {
		l.table.Line(Values(row))
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

// Page prints the rows that were added since the last call. The columns of those
// rows line up.
func (l *List) Page() error { return l.table.Flush() }

// End prints the end of the list.
func (l *List) End() error {
	if !l.json {
		return l.Page()
	}
	end := "\n]\n"
	if l.rows == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(l.w, end)
	return err
}

// Stream prints each result at once: as a row of a table with a heading, or as a
// line of JSON.
type Stream struct {
	w      io.Writer
	json   bool
	widths []int
}

// NewStream starts a stream. The heading has the names of its columns. widths are
// the least widths of all columns but the last.
func NewStream(w io.Writer, o Format, heading []Field, widths []int) (*Stream, error) {
	s := &Stream{w: w, json: o == AsJSON, widths: widths}
	if s.json {
		return s, nil
	}
	return s, s.Line(names(heading))
}

// Add prints a result.
func (s *Stream) Add(msg proto.Message, row []Field) error {
	if !s.json {
		return s.Line(Values(row))
	}
	text, err := toJSON(msg)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.w, "%s\n", text)
	return err
}

// Line prints the cells of a row.
func (s *Stream) Line(cells []string) error {
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

// table lines up columns. It prints nothing before Flush.
type table struct{ w *tabwriter.Writer }

// NewTable starts a table.
func NewTable(w io.Writer) table {
	return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
}

// Line adds a row. Flush returns an error of the writer.
func (t table) Line(cells []string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	_, _ = fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

// Flush prints the rows.
func (t table) Flush() error { return t.w.Flush() }

// names returns the names of the fields in capitals, for a heading.
func names(row []Field) []string {
	cells := make([]string, len(row))
	for i, f := range row {
		cells[i] = strings.ToUpper(f.Name())
	}
	return cells
}

// Values returns the values of the fields.
func Values(row []Field) []string {
	cells := make([]string, len(row))
	for i, f := range row {
		cells[i] = f.Value()
	}
	return cells
}

// printable quotes a cell that could control a terminal or break the table. An app
// ID, for example, is whatever an app has sent.
func printable(s string) string {
	quoted := strconv.Quote(s)
	if s == "" || quoted != `"`+s+`"` || strings.TrimSpace(s) != s {
		return quoted
	}
	return s
}

// toJSON returns a message as the API encodes it, on one line and with the fields
// that are 0.
func toJSON(msg proto.Message) ([]byte, error) {
	text, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(msg)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer // protojson's spacing is random on purpose
	if err := json.Compact(&compact, text); err != nil {
		return nil, err
	}
	return Escape(compact.Bytes()), nil
}

// Escape replaces characters that are not printable by \u escapes. JSON requires
// that for some control characters only, but terminals obey others, too. In JSON
// on one line, such characters occur only in strings, so the result is JSON.
func Escape(text []byte) []byte {
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
