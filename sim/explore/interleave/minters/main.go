// The minters are goroutines that share one generator, in every order of their
// atomic steps. The program is to be built with an overlay that puts package
// turns in the place of sync/atomic and sync in package snowflake; see package
// interleave, which does so. It prints a line for each case, and ends with 1 if
// one is broken, with 2 if it was built without the overlay.
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
	most := flag.Int("runs", 0, "stop a case after so many runs; 0: at its end")
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
		began := time.Now()
		r := turns.Search(c, most)
		end := "complete"
		switch {
		case r.Broken != nil:
			end = "broken"
		case !r.Complete:
			end = "bounded"
		}
		say("%s: %v orders of up to %d steps, %d states, %d runs, %s in %.1fs",
			r.Name, r.Orders, r.Turns, r.States, r.Runs, end, time.Since(began).Seconds())
		if r.Broken != nil {
			say("%v\n%s", r.Broken, strings.Join(r.Trace, "\n"))
			return 1
		}
	}
	return 0
}
