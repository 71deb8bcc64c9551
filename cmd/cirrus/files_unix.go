//go:build unix

package main

import "syscall"

// openFiles is how many files the process may have open; 0: there is no limit,
// or none is known. Go has raised it as far as the process may by now.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur) //nolint:unconvert // it is signed on some systems
}
