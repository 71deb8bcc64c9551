//go:build !unix

package files

import "io/fs"

// OpenLimit returns how many files the process may have open; 0: there is no limit,
// or none is known.
func OpenLimit() uint64 { return 0 }

// CloseToOthers does nothing: on this system files inherit from their directory who
// may use them.
func CloseToOthers() {}

// othersMay returns 0: it does not know what other users may do to a file.
func othersMay(string) fs.FileMode { return 0 }
