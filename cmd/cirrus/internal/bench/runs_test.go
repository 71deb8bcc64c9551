//go:build unix

package bench

import (
	"strconv"
	"syscall"
)

// runs says whether a process is there.
func runs(pid string) bool {
	n, err := strconv.Atoi(pid)
	return err == nil && syscall.Kill(n, 0) == nil
}
