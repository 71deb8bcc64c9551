// Package page renders a simulated run as one HTML file: a lane over time for each
// machine and each node ID. The file needs no other file and no network.
//
// It must not read anything but a trace, and must not know the rules.
package page

import (
	_ "embed" // the page's parts
	"fmt"
	"html/template"
	"io"
	"time"

	"github.com/cirrus-id/cirrus/sim"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

// content fills the template in page.html.
type content struct {
	CSS     template.CSS
	JS      template.JS
	Seed    uint64
	Profile sim.Profile
	About   string
	Command string
	Commit  string
	Broken  []broken
	Vows    bool
	Figures []figure
	Chart   *chart
}

type broken struct {
	Promise sim.Promise
	Means   string
	Text    string
	Event   int
	At      string
	Micros  int64
}

type figure struct{ Name, Value string }

// Write writes the page of a run that kept its trace. commit is the revision of
// the code that ran; if it is empty, the page shows none. The error is the writer's,
// or says that there is no trace.
func Write(w io.Writer, r *sim.Result, commit string) error {
	if len(r.Trace) == 0 {
		return fmt.Errorf("seed %d has no trace to show: run it with Config.Trace set",
			r.Config.Seed)
	}
	t, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return err
	}
	c := newChart(r.Trace)
	return t.Execute(w, content{
		CSS: template.CSS(pageCSS), JS: template.JS(pageJS), //nolint:gosec // both are ours
		Seed: r.Config.Seed, Profile: r.Profile, About: profileWords(r.Profile),
		Command: r.Config.Command(), Commit: commit,
		Broken: brokenIn(r), Vows: r.Profile == sim.Vows, Figures: figures(r, c), Chart: c,
	})
}

// profileWords says which faults a profile allows and what must hold.
func profileWords(p sim.Profile) string {
	switch p {
	case sim.Calm:
		return "nothing fails"
	case sim.Envelope:
		return "everything fails that Cirrus is built for: all promises must hold"
	case sim.Hostile:
		return "clocks are worse than Cirrus assumes: no ID may be minted twice, even so"
	case sim.Vows:
		return "somebody breaks what Cirrus takes on trust: nothing is promised, and the page shows what breaks"
	}
	return ""
}

// brokenIn returns the violations in the trace.
func brokenIn(r *sim.Result) []broken {
	var list []broken
	for i := range r.Trace {
		rec := &r.Trace[i]
		if rec.Kind != sim.RecordViolated {
			continue
		}
		p := sim.Promise(rec.Promise)
		list = append(list, broken{
			Promise: p, Means: p.Means(), Text: rec.Text, Event: rec.N,
			At: seconds(rec.At), Micros: rec.At.Microseconds(),
		})
	}
	return list
}

// figures returns the numbers at the top of the page.
func figures(r *sim.Result, c *chart) []figure {
	s := r.Stats
	return []figure{
		{"time lived", c.length.Round(time.Millisecond).String()},
		{"events", fmt.Sprint(s.Events)},
		{"apps", fmt.Sprint(s.Apps)},
		{"node IDs granted", fmt.Sprint(c.nodes)},
		{"grants", fmt.Sprint(s.Grants)},
		{"calls", fmt.Sprint(s.Calls)},
		{"IDs minted", fmt.Sprint(s.IDs)},
		{"faults", fmt.Sprint(s.Faults)},
		{"server crashes", fmt.Sprint(s.Crashes)},
	}
}

// seconds formats a true time.
func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }
