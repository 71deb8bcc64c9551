//go:build !unix

package main

// openFiles is how many files the process may have open; 0: there is no limit,
// or none is known.
func openFiles() uint64 { return 0 }
