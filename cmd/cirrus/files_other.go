//go:build !unix

package main

import "io/fs"

// openFiles is how many files the process may have open; 0: there is no limit,
// or none is known.
func openFiles() uint64 { return 0 }

// closeToOthers does nothing: here files inherit who may use them from their
// directory.
func closeToOthers() {}

// othersMay does not know what other users may do to a file.
func othersMay(string) fs.FileMode { return 0 }
