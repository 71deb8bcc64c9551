// Minters searches every order of the atomic steps of goroutines that share one
// generator. It must be built with an overlay that replaces sync/atomic and sync
// by package turns in package snowflake; package interleave does that. It prints a
// line for each case, and exits with 1 if a case is broken, and with 2 if it was
// built without the overlay.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/sim/explore/interleave/turns"
)

func main() {
	most := flag.Int("runs", 0, "stop a case after this many runs (0: no bound)")
	flag.Parse()
	os.Exit(run(os.Stdout, *most))
}

func run(out io.Writer, most int) int {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	if r := turns.Search(probe(), 0); r.Turns < 2 {
		say("the generator takes no turns: build this with the overlay of package interleave")
		return 2
	}
	for _, c := range cases() {
		started := time.Now()
		r := turns.Search(c, most)
		end := "complete"
		switch {
		case r.Broken != nil:
			end = "broken"
		case !r.Complete:
			end = "bounded"
		}
		say("%s: %v orders of up to %d steps, %d states, %d runs, %s in %.1fs",
			r.Name, r.Orders, r.Turns, r.States, r.Runs, end, time.Since(started).Seconds())
		if r.Broken != nil {
			say("%v\n%s", r.Broken, strings.Join(r.Trace, "\n"))
			return 1
		}
	}
	return 0
}
