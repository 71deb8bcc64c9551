//go:build unix

package supervise

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// child is a running child process and the process group that it leads.
type child struct {
	cmd *exec.Cmd
	// ended is closed once the child has ended. On Linux the child has not been
	// reaped by then, so no other process has its number yet.
	ended chan struct{}

	// killLogged: the log says that the child is killed.
	killLogged bool
	// logAgainAt is the steady time from which the log may say again that the
	// child can't be killed.
	logAgainAt time.Duration
	// survived: a process of the group is alive and may not be killed.
	survived bool
}

// logEvery is how often the log says that a child can't be killed.
const logEvery = 10 * time.Second

// startChild starts the child. It ties the calling goroutine to its thread until
// child.end: on Linux the kernel kills the child when that thread ends.
func startChild(c Command) (*child, error) {
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.SysProcAttr = childAttributes()
	runtime.LockOSThread()
	if err := cmd.Start(); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("the command can't be started: %w", err)
	}
	started := &child{cmd: cmd, ended: make(chan struct{})}
	go func() {
		awaitEnd(cmd)
		close(started.ended)
	}()
	return started, nil
}

// carryOut does to the whole group what the guard orders, and logs it afterwards:
// a signal never waits for a log (S14).
func (c *child) carryOut(o order, at, remaining time.Duration, log *slog.Logger) {
	switch o {
	case orderAsk:
		err := c.signalGroup(syscall.SIGTERM)
		log.Warn("the lease won't last: sending SIGTERM to the child", "remaining",
			remaining.Round(time.Millisecond))
		if err != nil {
			log.Error("the child can't be asked to end", "error", err)
		}
	case orderKill:
		err := c.kill()
		if !c.killLogged {
			log.Warn("the lease has ended: sending SIGKILL to the child")
			c.killLogged = true
		}
		if err != nil && at >= c.logAgainAt {
			log.Error(
				"the child can't be killed, and goes on with a node ID that others may get: end it; "+
					"cirrus goes on trying to kill it", "error", err)
			c.logAgainAt = at + logEvery
		}
	}
}

// kill kills the group, and the child by itself. Signalling a group succeeds if
// one process of it was reached, and the child may run as another user than the
// processes that it has started.
func (c *child) kill() error {
	group := c.signalGroup(syscall.SIGKILL)
	if err := c.cmd.Process.Signal(syscall.SIGKILL); err != nil &&
		!errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return group
}

// passOn gives the child a signal that this process got. It signals the whole
// group where a terminal would.
func (c *child) passOn(s os.Signal) {
	switch s {
	case syscall.SIGTSTP: // while this process stands still, nobody sends heartbeats
		_ = c.signalGroup(syscall.SIGSTOP)
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case syscall.SIGCONT, syscall.SIGINT, syscall.SIGQUIT:
		_ = c.signalGroup(s.(syscall.Signal))
	default:
		_ = c.cmd.Process.Signal(s) // it may have ended
	}
}

// signalGroup signals every process of the group that is alive. It returns an
// error if there are such processes and none could be reached.
func (c *child) signalGroup(s syscall.Signal) error {
	err := syscall.Kill(-c.cmd.Process.Pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// end kills the processes of the group that are still alive, since they would go
// on using the node ID. It returns the child's exit code.
func (c *child) end() (code int, err error) {
	defer runtime.UnlockOSThread()
	_ = c.signalGroup(syscall.SIGKILL) // checked below
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Wait() // its error says what the state says
	}
	// Signalling a group succeeds if one process of it was reached, and that may
	// have been the child, which had ended. Now that the child is reaped, the
	// result says whether there are others that this process may not signal.
	c.survived = c.signalGroup(0) != nil
	if c.cmd.ProcessState == nil {
		return 0, fmt.Errorf("it is not known how the command ended: look at its own output")
	}
	status := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}
