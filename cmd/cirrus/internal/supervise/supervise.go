//go:build unix

package supervise

import (
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cirrus-id/cirrus/internal/steady"
)

// Lease is the lease that a child needs.
type Lease interface {
	// Remaining returns how long the lease is still good for; 0: it is not.
	Remaining() time.Duration
	// Lost returns a channel that is closed when the lease is lost.
	Lost() <-chan struct{}
}

// Command is a command to run as a child.
type Command struct {
	// Args are the program and its arguments; there is at least the program.
	Args []string
	// Env are variables that the child gets beside those of this process.
	Env []string
	// Stdin, Stdout and Stderr are the child's.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Grace is how long before the lease's deadline the child is asked to end; from
	// 0 up.
	Grace time.Duration
	// Signals are passed on to the child. ToPassOn lists those to subscribe to.
	Signals <-chan os.Signal
	// Log is told why the child is ended.
	Log *slog.Logger
}

// Run starts the child, ends it before the lease ends, and returns its exit code:
// 128 and the number of the signal, if one ended it. Run reports whether a process
// of the child's group survived, because this process may not kill it.
func (c Command) Run(lease Lease) (code int, survived bool, err error) {
	g := &guard{grace: c.Grace}
	child, err := startChild(c)
	if err != nil {
		return 0, false, err
	}
	clock, lost := steady.New(), lease.Lost()
	for timer := time.NewTimer(0); ; {
		at := clock.Now() // before Remaining, as guard wants it
		remaining := lease.Remaining()
		child.carryOut(g.decide(at, remaining), at, remaining, c.Log)
		timer.Reset(g.wait(at))
		select {
		case <-timer.C:
		case <-lost:
			lost = nil // a closed channel would be chosen again and again
		case s := <-c.Signals:
			child.passOn(s)
		case <-child.ended:
			code, err := child.end()
			return code, child.survived, err
		}
	}
}

// ToPassOn lists the signals that a child gets through this process, without those
// that this process ignores, as under nohup.
func ToPassOn() []os.Signal {
	all := []os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGTSTP, syscall.SIGCONT,
	}
	received := all[:0]
	for _, s := range all {
		if !signal.Ignored(s) {
			received = append(received, s)
		}
	}
	return received
}
