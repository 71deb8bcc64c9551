package bench

import (
	"os"
	"syscall"
)

// syncFile makes durable what was written within the size that the file has:
// the least that a disk can be asked for.
func syncFile(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
