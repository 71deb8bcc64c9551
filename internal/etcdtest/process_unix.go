//go:build unix

package etcdtest

import "syscall"

// Stop makes the member stand still.
func (m *Member) Stop() error { return m.cmd.Process.Signal(syscall.SIGSTOP) }

// Continue lets a stopped member go on.
func (m *Member) Continue() error { return m.cmd.Process.Signal(syscall.SIGCONT) }
