//go:build unix && !linux

package main

import (
	"os/exec"
	"syscall"
)

// childAttributes put the child at the head of a process group. There is no way
// here to have it killed along with cirrus.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitEnd blocks until the child has ended, and reaps it: the group that is
// killed afterwards is, in theory, a new one with its number.
func awaitEnd(c *exec.Cmd) {
	_ = c.Wait() // its error says what the state says
}
