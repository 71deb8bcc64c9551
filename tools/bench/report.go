package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"
)

// Report is what a run measured.
type Report struct {
	Go    string        `json:"go"`
	OS    string        `json:"os"`
	Arch  string        `json:"arch"`
	Cores int           `json:"cores"`
	For   time.Duration `json:"for_ns"`
	Rows  []Row         `json:"rows"`
}

func newReport(cfg Config) *Report {
	return &Report{Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		Cores: runtime.GOMAXPROCS(0), For: cfg.For}
}

// Row is one figure of ours, beside its limit and its target.
type Row struct {
	// Name is the measurement's.
	Name string `json:"name"`
	What string `json:"what"`
	// Unit is that of Ours and of Limit.
	Unit string  `json:"unit"`
	Ours float64 `json:"ours"`
	// Limit is what Ours is compared with, and LimitIs says what that is. A row
	// with an absolute target has neither.
	Limit   float64 `json:"limit,omitempty"`
	LimitIs string  `json:"limit_is,omitempty"`
	// Ratio is the median of Ours / Limit over the slices. It differs a little from
	// the ratio of the two medians.
	Ratio float64 `json:"ratio,omitempty"`
	// Target is for Ratio or, where there is no limit, for Ours.
	Target Target `json:"target"`
	Met    bool   `json:"met"`
	// Note has further numbers.
	Note string `json:"note,omitempty"`
}

// Target bounds a figure.
type Target struct {
	// Op is ≤, < or ≥.
	Op    string  `json:"op"`
	Value float64 `json:"value"`
}

func (t Target) met(v float64) bool {
	switch t.Op {
	case "≤":
		return v <= t.Value
	case "<":
		return v < t.Value
	}
	return v >= t.Value
}

// comparison is a figure of ours beside a limit that was measured in turns with it.
type comparison struct {
	what, unit, limitIs string
	scale               float64 // what one unit is of the figure's, as 1e3 for ns in µs
	figure              figure
	ours                []sample
	limit               perRound
	target              Target
	note                string
}

func (c comparison) row() Row {
	rounds := len(c.ours)
	ratio := func(round int) float64 { return c.figure(c.ours[round]) / c.limit(round) }
	return Row{
		What: c.what, Unit: c.unit, LimitIs: c.limitIs, Target: c.target, Note: c.note,
		Ours: median(c.ours, c.figure) / c.scale, Limit: c.limit.median(rounds) / c.scale,
		Ratio: perRound(ratio).median(rounds),
	}
}

// judged returns the row with Met set.
func (r Row) judged() Row {
	v := r.Ours
	if r.LimitIs != "" {
		v = r.Ratio
	}
	r.Met = r.Target.met(v)
	return r
}

// JSON writes the report as JSON.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// Table writes the report for people.
func (r *Report) Table(w io.Writer) error {
	lines := [][]string{{"NAME", "WHAT", "OURS", "LIMIT", "RATIO", "TARGET", ""}}
	for _, row := range r.Rows {
		lines = append(lines, row.cells())
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s %s/%s, %d cores, each side measured for %v\n\n", r.Go, r.OS, r.Arch,
		r.Cores, r.For)
	widths := widths(lines)
	for i, line := range lines {
		out.WriteString(padded(line, widths))
		if i > 0 {
			out.WriteString(r.Rows[i-1].remarks(strings.Repeat(" ", widths[0]+4)))
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (r Row) cells() []string {
	limit, ratio, target := "", "", r.Target.Op+" "+number(r.Target.Value)+" "+r.Unit
	if r.LimitIs != "" {
		limit = number(r.Limit) + " " + r.Unit
		ratio = fmt.Sprintf("%.2f", r.Ratio)
		target = r.Target.Op + " " + number(r.Target.Value)
	}
	verdict := "met"
	if !r.Met {
		verdict = "MISSED"
	}
	return []string{r.Name, r.What, number(r.Ours) + " " + r.Unit, limit, ratio,
		strings.TrimSpace(target), verdict}
}

// remarks returns the lines below a row.
func (r Row) remarks(indent string) string {
	var out strings.Builder
	if r.LimitIs != "" {
		out.WriteString(indent + "limit: " + r.LimitIs + "\n")
	}
	if r.Note != "" {
		out.WriteString(indent + r.Note + "\n")
	}
	return out.String()
}

// number returns v with three significant digits, or as an integer.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return grouped(fmt.Sprintf("%.0f", v))
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.2f", v), ".00")
}

// grouped puts commas between thousands.
func grouped(digits string) string {
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

func widths(lines [][]string) []int {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

func padded(line []string, widths []int) string {
	var out strings.Builder
	for i, cell := range line {
		out.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
	}
	return strings.TrimRight(out.String(), " ") + "\n"
}
