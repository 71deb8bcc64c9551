package main

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttributes put the child at the head of a process group, and have the
// kernel kill it when the thread that started it ends.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitEnd blocks until the child has ended, and leaves it to be reaped.
func awaitEnd(c *exec.Cmd) {
	for {
		err := unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}
