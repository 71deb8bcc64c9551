package supervise

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttributes makes the child the leader of a process group, and has the
// kernel kill the child when the thread that started it ends.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitEnd blocks until the child has ended. It does not reap the child.
func awaitEnd(c *exec.Cmd) {
	for {
		err := unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}
