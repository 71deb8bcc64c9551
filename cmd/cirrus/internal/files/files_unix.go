//go:build unix

package files

import (
	"io/fs"
	"os"
	"syscall"
)

// OpenLimit is how many files the process may have open; 0: there is no limit,
// or none is known. Go has raised it as far as the process may by now.
func OpenLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur) //nolint:unconvert // it is signed on some systems
}

// CloseToOthers has the files that the process makes from now on be closed to
// all users but its own, who may write, and its group, which may read them.
func CloseToOthers() {
	const groupMayRead = 0o027
	if before := syscall.Umask(groupMayRead); before != groupMayRead {
		syscall.Umask(before | groupMayRead)
	}
}

// othersMay is what users outside a file's group may do to it; nothing where
// there is no such file.
func othersMay(path string) fs.FileMode {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Mode().Perm() & 0o007
}
