//go:build unix && !linux

package supervise

import (
	"os/exec"
	"syscall"
)

// childAttributes makes the child the leader of a process group. On this system
// the kernel can't be asked to kill the child when this process is killed.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitEnd blocks until the child has ended, and reaps it. The group that is
// killed afterwards could, in theory, be a new one with the same number.
func awaitEnd(c *exec.Cmd) {
	_ = c.Wait() // its error says what the state says
}
