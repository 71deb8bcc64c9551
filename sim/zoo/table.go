package zoo

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteTable writes the report as a table in columns.
func (r Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range r.rows() {
		fmt.Fprintln(t, strings.Join(row, "\t")) //nolint:errcheck // Flush tells
	}
	return t.Flush()
}

// WriteMarkdown writes the report's table as docs/simulation.md has it.
func (r Report) WriteMarkdown(w io.Writer) error {
	var text strings.Builder
	for i, row := range r.rows() {
		fmt.Fprintf(&text, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&text, "|%s\n", strings.Repeat("---|", len(row)))
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// rows returns the rows of the table, with its head.
func (r Report) rows() [][]string {
	rows := [][]string{{"bug", "rule", "found by", "seeds", "time"}}
	for _, f := range r.Bugs {
		rows = append(rows, f.Row())
	}
	for _, f := range r.Controls {
		rows = append(rows, f.Row())
	}
	return append(rows, r.Canary.Row())
}

// Row returns a finding's row in the table: the bug, the rule that it breaks, what
// found it, after how many seeds, and after how much time of one core.
func (f Finding) Row() []string {
	name, by, seeds := f.Bug.Name, f.by(), "–"
	if f.Control {
		name = "control: " + name
	}
	if f.Bug.Found.bySimulator() && f.Median.Seeds > 0 {
		seeds = fmt.Sprint(f.Median.Seeds)
	}
	return []string{name, f.Bug.Rule, by, seeds, short(f.Median.Time)}
}

// by says what found the bug.
func (f Finding) by() string {
	switch {
	case f.Err != nil:
		return "NOT AS EXPECTED"
	case f.Control:
		return "nobody"
	case !f.Bug.Found.bySimulator():
		return f.Bug.Found.Package + " " + f.Bug.Found.Test
	}
	for _, p := range f.Bug.Found.Promises {
		if strings.HasPrefix(f.Median.Text, string(p)) {
			return string(p)
		}
	}
	return f.Median.Text
}

// short formats a duration for the table.
func short(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}
