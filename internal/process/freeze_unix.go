//go:build unix

package process

import "syscall"

// Freeze stops the process with SIGSTOP. On Linux it returns when every thread
// has stopped.
func (p *Process) Freeze() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return awaitFrozen(p.PID())
}

// Thaw lets a frozen process continue.
func (p *Process) Thaw() error { return p.Signal(syscall.SIGCONT) }
