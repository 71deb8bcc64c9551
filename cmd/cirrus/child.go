//go:build unix

package main

import (
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
)

// child is a running child process and the process group that it leads.
type child struct {
	cmd *exec.Cmd
	// ended is closed once the child has ended. On Linux it has not been reaped
	// by then, so its number is still nobody else's.
	ended chan struct{}
}

// startChild starts the child with the lease in its environment. The calling
// goroutine is tied to its thread from here to child.end: a thread that ended
// would take the child along.
func startChild(cmd *cobra.Command, args []string, l client.Lease) (*child, error) {
	c := exec.Command(args[0], args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = cmd.InOrStdin(), plain(cmd.OutOrStdout()), plain(cmd.ErrOrStderr())
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
	return append(vars, setByRun+"="+strings.Join(vars, " "))
}

// carryOut does what the guard orders, to the whole group.
func (c *child) carryOut(o order, log *slog.Logger, holder *client.Holder) {
	switch o {
	case orderAsk:
		log.Warn("the lease won't last: sending SIGTERM to the child", "left", holder.Remaining().Round(time.Millisecond))
		c.signalGroup(syscall.SIGTERM)
	case orderKill:
		log.Warn("the lease is over: sending SIGKILL to the child")
		c.signalGroup(syscall.SIGKILL)
	}
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
		c.signalGroup(syscall.SIGSTOP)
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case syscall.SIGCONT, syscall.SIGINT, syscall.SIGQUIT:
		c.signalGroup(s.(syscall.Signal))
	default:
		_ = c.cmd.Process.Signal(s) // it may have ended
	}
}

// signalGroup signals all that is left of the group, which may be nobody.
func (c *child) signalGroup(s syscall.Signal) { _ = syscall.Kill(-c.cmd.Process.Pid, s) }

// end kills what is left of the group: it would go on using the node ID. It
// returns the child's exit code.
func (c *child) end() (code int, err error) {
	defer runtime.UnlockOSThread()
	c.signalGroup(syscall.SIGKILL)
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Wait() // its error says what the state says
	}
	if c.cmd.ProcessState == nil {
		return 0, fmt.Errorf("it is not known how the command ended: look at its own output")
	}
	status := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}
