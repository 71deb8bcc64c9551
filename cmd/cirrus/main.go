// Command cirrus leases Snowflake node IDs: it serves them from a store, and
// its other subcommands are clients of such a service.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
