package zoo

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/cirrus-id/cirrus/sim"
)

// outcome is a line of JSON that a driver prints about a seed with a violation, and
// at its end.
type outcome struct {
	Seed  uint64 `json:"seed"`
	Seeds int    `json:"seeds"` // how many were run, this one included
	// Promise is the one that was broken. Empty: none was.
	Promise sim.Promise `json:"promise,omitempty"`
	Text    string      `json:"text,omitempty"`
	// Found says that the bug must break this promise. The driver then ends.
	Found bool `json:"found,omitempty"`
	// Panic is the text of a panic, which does not count as found.
	Panic string `json:"panic,omitempty"`
	// Done says that all seeds were run.
	Done bool `json:"done,omitempty"`
}

// Drive is the main function of the driver. Its arguments are the name of a bug,
// the first seed, and the most seeds to run. It runs seeds until one breaks a
// promise that the bug must break, and prints outcomes.
func Drive(args []string, w io.Writer) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: driver BUG START COUNT")
	}
	b, err := named(args[0])
	if err != nil {
		return err
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
	printed := map[string]bool{} // one outcome of each kind is enough
	for i := range count {
		o := try(b, start, start+uint64(i))
		o.Seeds = i + 1
		if kind := string(o.Promise) + o.Panic; o.Found || kind != "" && !printed[kind] {
			printed[kind] = true
			if err := enc.Encode(o); err != nil || o.Found {
				return err
			}
		}
	}
	return enc.Encode(outcome{Done: true, Seeds: count})
}

// named returns the bug, the control or the canary of a name.
func named(name string) (Bug, error) {
	if name == canary.Name {
		return canary, nil
	}
	c, err := load()
	if err != nil {
		return Bug{}, err
	}
	b, ok := c.find(name)
	if !ok {
		return Bug{}, fmt.Errorf("there is no bug %q", name)
	}
	return b, nil
}

// try runs one seed. start is the first one.
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
