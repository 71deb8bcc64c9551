//go:build unix

package files

import (
	"io/fs"
	"os"
	"syscall"
)

// OpenLimit returns how many files the process may have open; 0: there is no limit,
// or none is known. Go's runtime has raised the limit as far as the process may.
func OpenLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur) //nolint:unconvert // it is signed on some systems
}

// CloseToOthers takes all rights to the files that the process creates from now on
// from users other than its own and its group. The group may read them.
func CloseToOthers() {
	const groupMayRead = 0o027
	if before := syscall.Umask(groupMayRead); before != groupMayRead {
		syscall.Umask(before | groupMayRead)
	}
}

// othersMay returns what users outside a file's group may do to it: nothing if there
// is no such file.
func othersMay(path string) fs.FileMode {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Mode().Perm() & 0o007
}
