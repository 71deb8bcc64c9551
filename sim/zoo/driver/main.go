// Driver runs seeds for the zoo, which builds it with one planted bug at a time and
// reads its output. People use `cirrus sim zoo`.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/cirrus-id/cirrus/sim"
	"github.com/cirrus-id/cirrus/sim/zoo"
)

func main() {
	debug.SetGCPercent(sim.GCPercent)
	if err := zoo.Drive(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "driver: %v\n", err)
		os.Exit(2)
	}
}
