// Command cirrus leases Snowflake node IDs: it serves them from a store, and
// its other subcommands are clients of such a service.
package main

import (
	"os"
	"runtime"
)

// The main thread does nothing but wait. Linux gives a process's signal to its main
// thread, and to no other as long as that one may take it, even if it is blocked in a
// write to a disk that hangs: then SIGTERM would not end the process (S9).
func main() {
	runtime.LockOSThread()
	code := make(chan int)
	go func() { code <- run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr) }()
	os.Exit(<-code)
}
