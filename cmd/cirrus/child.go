//go:build unix

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/client"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
)

// child is a running child process and the process group that it leads.
type child struct {
	cmd *exec.Cmd
	// ended is closed once the child has ended. On Linux it has not been reaped
	// by then, so its number is still nobody else's.
	ended chan struct{}

	// killTold and tellAgain are what was said of killing it: that it is done, and
	// the steady time from which it may be said again that it can't be.
	killTold  bool
	tellAgain time.Duration
	// survived: something of the group lives on, and may not be killed.
	survived bool
}

// tellEvery is how often it is said that a child can't be killed.
const tellEvery = 10 * time.Second

// startChild starts the child with the lease in its environment. The calling
// goroutine is tied to its thread from here to child.end: a thread that ended
// would take the child along.
func startChild(cmd *cobra.Command, args []string, l client.Lease) (*child, error) {
	c := exec.Command(args[0], args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = cmd.InOrStdin(), output.File(cmd.OutOrStdout()), output.File(cmd.ErrOrStderr())
	c.Env = append(os.Environ(), leaseVariables(l)...)
	c.SysProcAttr = childAttributes()
	runtime.LockOSThread()
	if err := c.Start(); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("the command can't be started: %w", err)
	}
	started := &child{cmd: c, ended: make(chan struct{})}
	go func() {
		awaitEnd(c)
		close(started.ended)
	}()
	return started, nil
}

// leaseVariables are how a child learns of its lease, and the list of them, by
// which a cirrus that the child starts knows that they are not meant for it.
func leaseVariables(l client.Lease) []string {
	vars := []string{
		"CIRRUS_POOL=" + string(l.Pool),
		"CIRRUS_NODE_ID=" + strconv.FormatUint(uint64(l.Node), 10),
		"CIRRUS_EPOCH=" + strconv.FormatUint(uint64(l.Epoch), 10),
		"CIRRUS_FLOOR_MS=" + strconv.FormatInt(int64(l.Floor), 10),
	}
	return append(vars, flags.SetByRun+"="+strings.Join(vars, " "))
}

// carryOut does what the guard orders, to the whole group, and then tells it: a
// signal never waits for a log (S14).
func (c *child) carryOut(o order, at time.Duration, log *slog.Logger, holder *client.Holder) {
	switch o {
	case orderAsk:
		err := c.signalGroup(syscall.SIGTERM)
		log.Warn("the lease won't last: sending SIGTERM to the child", "left", holder.Remaining().Round(time.Millisecond))
		if err != nil {
			log.Error("the child can't be asked to end", "error", err)
		}
	case orderKill:
		err := c.kill()
		if !c.killTold {
			log.Warn("the lease is over: sending SIGKILL to the child")
			c.killTold = true
		}
		if err != nil && at >= c.tellAgain {
			log.Error("the child can't be killed, and goes on with a node ID that others may get: end it; this is tried again until it has ended", "error", err)
			c.tellAgain = at + tellEvery
		}
	}
}

// kill kills the group. To reach one of it is enough for the system, so the
// child, which may run as another user than what it has started, is killed for
// itself, too.
func (c *child) kill() error {
	group := c.signalGroup(syscall.SIGKILL)
	if err := c.cmd.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return group
}

// passedOn are the signals that reach the child by way of cirrus.
func passedOn() []os.Signal {
	all := []os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGTSTP, syscall.SIGCONT,
	}
	heard := all[:0]
	for _, s := range all {
		if !signal.Ignored(s) { // as under nohup
			heard = append(heard, s)
		}
	}
	return heard
}

// passOn gives the child a signal that cirrus got. A terminal would send some
// to the whole group.
func (c *child) passOn(s os.Signal) {
	switch s {
	case syscall.SIGTSTP: // who doesn't heartbeat must not run
		_ = c.signalGroup(syscall.SIGSTOP)
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case syscall.SIGCONT, syscall.SIGINT, syscall.SIGQUIT:
		_ = c.signalGroup(s.(syscall.Signal))
	default:
		_ = c.cmd.Process.Signal(s) // it may have ended
	}
}

// signalGroup signals all that is left of the group, which may be nobody. It
// errs if nobody could be reached though somebody is left.
func (c *child) signalGroup(s syscall.Signal) error {
	err := syscall.Kill(-c.cmd.Process.Pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// end kills what is left of the group: it would go on using the node ID. It
// returns the child's exit code.
func (c *child) end() (code int, err error) {
	defer runtime.UnlockOSThread()
	_ = c.signalGroup(syscall.SIGKILL) // what it could not reach is looked for below
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Wait() // its error says what the state says
	}
	// To reach one of the group is enough for the system, be it the child that has
	// ended. So it is asked, once that is reaped, whether those are left whom
	// cirrus may not signal.
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
