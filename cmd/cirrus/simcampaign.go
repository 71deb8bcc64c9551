package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/sim"
)

// fullCampaign is how many seeds a campaign needs for its floors to mean
// something.
const fullCampaign = 2000

// runCampaign runs many seeds.
func runCampaign(cmd *cobra.Command, config sim.Config) error {
	o, err := campaignOptions(cmd, config)
	if err != nil {
		return err
	}
	bar := newProgressBar(output.File(cmd.ErrOrStderr()), o.For)
	o.Progress = bar.show
	report, err := sim.Campaign(cmd.Context(), o)
	bar.end()
	if err != nil {
		return err
	}
	if err := report.Write(cmd.OutOrStdout(), revision()); err != nil {
		return err
	}
	if !report.OK() {
		return exit.Code(exit.Failed)
	}
	return nil
}

func campaignOptions(cmd *cobra.Command, config sim.Config) (sim.Options, error) {
	f := cmd.Flags()
	o := sim.Options{Config: config, Clock: stopwatch()}
	o.Start, _ = f.GetUint64("start")
	o.Seeds, _ = f.GetInt("seeds")
	o.For, _ = f.GetDuration("for")
	o.Jobs, _ = f.GetInt("jobs")
	switch {
	case o.Seeds < 1:
		return o, exit.Usagef("--seeds %d: give 1 or more", o.Seeds)
	case o.For < 0:
		return o, exit.Usagef("--for %v: give a time above 0", o.For)
	case o.Jobs < 0:
		return o, exit.Usagef("--jobs %d: give 1 or more", o.Jobs)
	}
	if o.For > 0 && !flags.Given(f, "seeds") {
		o.Seeds = 0
	}
	// A few seeds, or tame ones, can't be expected to see everything.
	tamed := config.Profile != "" || len(config.Without) > 0 || config.Apps != 0 ||
		config.Faults != 0 || config.Until != 0
	o.NoFloors = tamed || o.Seeds < fullCampaign
	return o, nil
}

// progressBar shows how far a campaign has come: on a terminal one line that changes,
// elsewhere a line now and then.
type progressBar struct {
	w        io.Writer
	terminal bool
	every    time.Duration
	next     time.Duration
	limit    time.Duration // of a campaign that is bounded by time
	open     bool          // the last line has no end yet
}

func newProgressBar(w io.Writer, limit time.Duration) *progressBar {
	b := &progressBar{w: w, limit: limit, every: 10 * time.Second, next: 10 * time.Second}
	if output.IsTerminal(w) {
		b.terminal, b.every, b.next = true, 100*time.Millisecond, 0
	}
	return b
}

// show implements sim.Options.Progress.
func (b *progressBar) show(p sim.Progress) {
	if p.Elapsed < b.next {
		return
	}
	b.next = p.Elapsed + b.every
	line := progressLine(p)
	if b.terminal {
		b.open = true
		line = "\r" + drawBar(b.share(p)) + " " + line + "\x1b[K"
	} else {
		line += "\n"
	}
	_, _ = io.WriteString(b.w, line) // the report says it all again
}

// share returns how much of the campaign is done, from 0 to 1.
func (b *progressBar) share(p sim.Progress) float64 {
	share := 0.0
	if p.Seeds > 0 {
		share = float64(p.Done) / float64(p.Seeds)
	}
	if b.limit > 0 {
		share = max(share, p.Elapsed.Seconds()/b.limit.Seconds())
	}
	return min(share, 1)
}

func (b *progressBar) end() {
	if b.open {
		_, _ = io.WriteString(b.w, "\n") // the report says it all again
	}
}

func drawBar(share float64) string {
	const width = 24
	n := int(share*width + 0.5)
	return "[" + strings.Repeat("█", n) + strings.Repeat("·", width-n) + "]"
}

func progressLine(p sim.Progress) string {
	seeds := fmt.Sprint(p.Done)
	if p.Seeds > 0 {
		seeds += fmt.Sprintf(" of %d", p.Seeds)
	}
	return fmt.Sprintf("%s seeds, %.0f a second, %d of %d situations, %d broken", seeds,
		p.PerSecond(), p.Situations, p.OfSituations, p.Violations)
}
