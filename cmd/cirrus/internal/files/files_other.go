//go:build !unix

package files

import "io/fs"

// OpenLimit is how many files the process may have open; 0: there is no limit,
// or none is known.
func OpenLimit() uint64 { return 0 }

// CloseToOthers does nothing: here files inherit who may use them from their
// directory.
func CloseToOthers() {}

// othersMay does not know what other users may do to a file.
func othersMay(string) fs.FileMode { return 0 }
