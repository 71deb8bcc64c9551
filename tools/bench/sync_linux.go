package main

import (
	"os"
	"syscall"
)

// syncFile makes durable what was written within the file's size: the least that a
// disk can be asked for.
func syncFile(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
