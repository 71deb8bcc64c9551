//go:build unix

package etcdtest

import "syscall"

// Stop makes the member stand still. It returns when it does.
func (m *Member) Stop() error {
	if err := m.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return AwaitStop(m.cmd.Process.Pid)
}

// Continue lets a stopped member go on.
func (m *Member) Continue() error { return m.cmd.Process.Signal(syscall.SIGCONT) }
