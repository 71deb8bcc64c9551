package zoo

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/cirrus-id/cirrus/sim"
)

// outcome is what a driver prints of a seed at which something was wrong, one
// line of JSON each.
type outcome struct {
	Seed  uint64 `json:"seed"`
	Seeds int    `json:"seeds"` // that were run, this one included
	// Promise is the one that was broken; empty: none was.
	Promise sim.Promise `json:"promise,omitempty"`
	Text    string      `json:"text,omitempty"`
	// Found: it is one that was expected, and the driver has ended.
	Found bool `json:"found,omitempty"`
	// Panic is not a find.
	Panic string `json:"panic,omitempty"`
	// Done: all seeds were run.
	Done bool `json:"done,omitempty"`
}

// Drive is the driver's main: it runs the seeds from start on, at most count,
// until one breaks a promise that the bug of this name is expected to break.
// It prints outcomes.
func Drive(args []string, w io.Writer) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: driver BUG START COUNT")
	}
	b, ok := find(args[0])
	if !ok {
		return fmt.Errorf("there is no bug %q", args[0])
	}
	start, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	told := map[string]bool{} // one of a kind is enough
	for i := range count {
		o := try(b, start, start+uint64(i))
		o.Seeds = i + 1
		if kind := string(o.Promise) + o.Panic; o.Found || kind != "" && !told[kind] {
			told[kind] = true
			if err := enc.Encode(o); err != nil || o.Found {
				return err
			}
		}
	}
	return enc.Encode(outcome{Done: true, Seeds: count})
}

// try runs one seed.
func try(b Bug, start, seed uint64) outcome {
	o := outcome{Seed: seed}
	c := sim.Config{Seed: seed, Profile: b.Found.Profile}
	if b.Name == canary.Name {
		c.Canary = start - 1 + canarySeed
	}
	r := sim.Run(c)
	switch v := r.Violation; {
	case v == nil:
	case v.Promise == sim.PromiseNoPanic:
		o.Panic = fmt.Sprintf("%.200s", v.Text)
	default:
		o.Promise, o.Text = v.Promise, v.Error()
		o.Found = slices.Contains(b.Found.Promises, v.Promise)
	}
	return o
}
