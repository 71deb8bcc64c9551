// Package process runs programs beside this one: servers for tests and for
// measurements, and those of make cluster. A program is started, watched until
// it is ready, and stopped or killed; on Linux it dies with this program, however
// this program ends. The package knows nothing of Cirrus and decides nothing
// about tests: what a failure means is up to the caller.
package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// pollEvery is how long Await waits between two probes.
const pollEvery = 5 * time.Millisecond

// Process is a program that was started. A nil Process is one that was not:
// it is not running, and killing it does nothing.
type Process struct {
	cmd  *exec.Cmd
	log  *Log
	done chan struct{}
}

// Start starts a command. Its standard error goes to the process's log, unless
// cmd sends it elsewhere; a *Log in cmd.Stderr becomes the process's log, so that
// several runs can share one.
func Start(cmd *exec.Cmd) (*Process, error) {
	if cmd.Stderr == nil {
		cmd.Stderr = &Log{}
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	p.log, _ = cmd.Stderr.(*Log)
	if err := startForLife(cmd); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	go func() {
		_ = cmd.Wait() // State reports the same
		close(p.done)
	}()
	return p, nil
}

// PID returns the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Args returns the command line, beginning with the program's name.
func (p *Process) Args() []string { return p.cmd.Args }

// Log returns what the process has written to its log so far; "" if its standard
// error went elsewhere.
func (p *Process) Log() string {
	if p.log == nil {
		return ""
	}
	return p.log.String()
}

// Done returns a channel that is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process was started and has not ended.
func (p *Process) Running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// State returns how the process ended; nil while it is running.
func (p *Process) State() *os.ProcessState {
	if p.Running() {
		return nil
	}
	return p.cmd.ProcessState
}

// Signal sends a signal to the process.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Await calls ready until it returns nil. It returns an error, with the log, if
// before that the process ends, ctx ends, or the timeout passes.
func (p *Process) Await(ctx context.Context, timeout time.Duration, ready func() error) error {
	deadline := time.Now().Add(timeout)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready (%v):\n%s", p.cmd.Path, p.State(),
				p.Log())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %v: %w\n%s", p.cmd.Path, timeout, err, p.Log())
		}
	}
}

// Wait returns when the process has ended. It returns an error, with the log, if
// that takes longer than the timeout.
func (p *Process) Wait(timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("%v has not ended within %v:\n%s", p.cmd.Args, timeout, p.Log())
	}
}

// Stop asks the process to end with SIGTERM, and waits until it has. If that
// takes longer than the timeout, Stop kills the process and returns an error.
func (p *Process) Stop(timeout time.Duration) error {
	if !p.Running() {
		return nil
	}
	_ = p.Signal(syscall.SIGTERM) // the process may just have ended
	err := p.Wait(timeout)
	p.Kill()
	return err
}

// Kill ends the process with SIGKILL and waits until it has ended.
func (p *Process) Kill() {
	if !p.Running() {
		return
	}
	_ = p.cmd.Process.Kill() // the process may just have ended
	<-p.done
}
