//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/client"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/dial"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/supervise"
	"github.com/cirrus-id/cirrus/fencing"
)

const (
	// defaultGrace is the default of --grace, if that is not above a third of the TTL.
	defaultGrace = 5 * time.Second
	// releaseTime is how long cirrus tries to release the lease once the child has
	// ended.
	releaseTime = 3 * time.Second
)

func newRun() *cobra.Command {
	var in runFlags
	cmd := &cobra.Command{
		Use:   "run --app NAME -- CMD [ARG]...",
		Short: "Hold a lease for a child process, and end it before the lease does",
		Long: `Run holds a lease for a child process. The child finds the lease in its
environment: CIRRUS_NODE_ID, CIRRUS_EPOCH, CIRRUS_POOL, and CIRRUS_FLOOR_MS, the
first timestamp that it may put into IDs. Run sends the heartbeats, gives the lease
back when the child ends, and exits with the child's exit code, or with 128 and the
number of the signal that ended it.

Those variables can't change, so there is no second lease: if the first one can't
be kept, the child has to end. It gets SIGTERM --grace before the deadline, unless
a heartbeat is answered first, and SIGKILL at the deadline. If the lease is lost,
it gets SIGTERM at once, and SIGKILL after the grace, or at the deadline if that
is sooner. Until the deadline nobody else gets the node ID, because the service
keeps even a revoked one back until then.

The child has exclusion (P1) and fencing (P3): there is one live holder, and the
epoch lets a resource refuse a late one. It does not have uniqueness (P2): it
stamps IDs by its own clock, which may be set back to times that another holder
has used, and nobody can stop it between its last check of its lease and its next
ID. For P2, mint with the Go client. P1 needs cirrus itself to run: if cirrus alone
is stopped, by SIGSTOP, nobody watches the child, and only P3 holds.

The child leads a process group of its own, in the background of the terminal, from
which it can't read. SIGINT and SIGQUIT are passed on to the whole group, SIGHUP,
SIGTERM, SIGUSR1, SIGUSR2 and SIGWINCH to the child alone. SIGTSTP (Ctrl-Z) stops
cirrus and the group, because a child must not run while nobody sends heartbeats.
When the lease ends, SIGTERM and SIGKILL go to the whole group. When the child
ends, the rest of the group is killed.

A SIGHUP, also from a terminal that closes, reaches the child, which may read its
settings again or end. Cirrus ends when the child does. Cirrus waits for no reader
of its output before it ends the child: it drops lines that nobody reads in time.

A child that runs as another user, as under sudo, may refuse cirrus's signals:
cirrus reports that, and tries again until the child has ended. If such a process
outlives the child, the lease is not given back, but runs out.

On Linux the kernel kills the child when cirrus is killed, unless the child has
changed its user. It does not kill the child's own children, and no signal reaches
processes that leave the group. So the process that uses the node ID should be the
child itself: in a shell script, start it with exec.

A cirrus command that the child runs ignores the variables above, unless the child
changes them: give it flags.`,
		Example: `  cirrus run --app billing -- ./billing-server --port 8080
  cirrus run --app worker --ttl 1m --grace 15s --wait 5m -- sh -c 'exec ./worker --node "$CIRRUS_NODE_ID"'`,
		Args:        cobra.MinimumNArgs(1),
		Annotations: map[string]string{exit.TakesHangup: "yes"},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows CMD is CMD's
	f.StringVar(&in.app, "app", "",
		"the app ID: 1 to 253 bytes, a hint for getting the same node ID again")
	f.DurationVar(&in.ttl, "ttl", 0, "the lease's TTL (default: the pool's)")
	f.DurationVar(&in.grace, "grace", defaultGrace,
		"how long before the deadline the child is asked to end, at most a third of the TTL (default: "+
			"that, if it is less)")
	f.DurationVar(&in.wait, "wait", 10*time.Second, "how long to wait for a lease")
	dial.AddFlag(cmd)
	flags.AddPool(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return in.run(cmd, args) }
	return cmd
}

// runFlags are what `cirrus run` was asked for.
type runFlags struct {
	app              string
	ttl, grace, wait time.Duration
}

func (in runFlags) run(cmd *cobra.Command, args []string) error {
	if err := in.check(cmd, args[0]); err != nil {
		return err
	}
	// From here on no signal is missed that is to be passed on: one that arrives
	// before there is a child waits for it.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, supervise.ToPassOn()...)
	defer signal.Stop(signals)

	log := output.Warnings(cmd)
	holder, err := in.hold(cmd, log)
	if err != nil {
		return err
	}
	code, survived, err := in.runChild(cmd, args, holder, signals, log)
	if survived {
		log.Error(
			"a process that the command has started lives on and may not be killed: the lease is " +
				"not given back, so the node ID rests for its TTL and quarantine; end that process before")
	} else {
		giveBack(cmd, holder, log)
	}
	if err == nil && code != 0 {
		return exit.Code(code)
	}
	return err
}

// check refuses wrong flags and a missing program before there is a lease.
func (in runFlags) check(cmd *cobra.Command, path string) error {
	switch {
	case in.grace < 0:
		return exit.Usagef("--grace %v: give a time from 0 up", in.grace)
	case in.wait <= 0:
		return exit.Usagef("--wait %v: give a time above 0", in.wait)
	}
	if err := flags.Required(cmd, "app"); err != nil {
		return err
	}
	if _, err := exec.LookPath(path); err != nil {
		return fmt.Errorf("the command can't be run: %w; give its path, or one that is in PATH",
			err)
	}
	return nil
}

// hold acquires the only lease that the child ever has.
func (in runFlags) hold(cmd *cobra.Command, log *slog.Logger) (*client.Holder, error) {
	addr, err := dial.Address(cmd)
	if err != nil {
		return nil, err
	}
	pool, err := cmd.Flags().GetString("pool")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), in.wait)
	defer cancel()
	holder, err := client.Hold(ctx, addr, in.app,
		client.WithPool(fencing.PoolName(pool)), client.WithTTL(in.ttl),
		client.WithWait(dial.QueueTime(in.wait)),
		client.WithoutReacquire(),     // the child's environment can't change
		client.WithoutLastTimestamp(), // the child mints
		client.WithLogger(log))
	switch {
	case err == nil:
		return holder, nil
	case cmd.Context().Err() != nil:
		return nil, errors.New("a signal came before there was a lease, so nothing was started")
	}
	return nil, holdError(err, in.wait)
}

// runChild runs the child until it ends or the lease does, and reports whether a
// process that it has started survived.
func (in runFlags) runChild(cmd *cobra.Command, args []string, holder *client.Holder,
	signals <-chan os.Signal, log *slog.Logger) (code int, survived bool, err error) {
	grace, err := in.graceOf(cmd, holder.Lease())
	if err != nil {
		return 0, false, err
	}
	return supervise.Command{
		Args:    args,
		Env:     leaseVariables(holder.Lease()),
		Stdin:   cmd.InOrStdin(),
		Stdout:  output.File(cmd.OutOrStdout()),
		Stderr:  output.File(cmd.ErrOrStderr()),
		Grace:   grace,
		Signals: signals,
		Log:     log,
	}.Run(holder)
}

// graceOf returns the grace for a lease: its TTL is not known before.
func (in runFlags) graceOf(cmd *cobra.Command, l client.Lease) (time.Duration, error) {
	most := l.TTL / 3
	if flags.Given(cmd.Flags(), "grace") && in.grace > most {
		return 0, exit.Usagef(
			"--grace %v is more than a third of the lease's TTL, %v: give %v at most",
			in.grace, l.TTL, most)
	}
	return min(in.grace, most), nil
}

// leaseVariables are the variables that tell a child of its lease. The last one
// lists the others, so that a cirrus that the child starts does not take them for
// its own settings.
func leaseVariables(l client.Lease) []string {
	vars := []string{
		"CIRRUS_POOL=" + string(l.Pool),
		"CIRRUS_NODE_ID=" + strconv.FormatUint(uint64(l.Node), 10),
		"CIRRUS_EPOCH=" + strconv.FormatUint(uint64(l.Epoch), 10),
		"CIRRUS_FLOOR_MS=" + strconv.FormatInt(int64(l.Floor), 10),
	}
	return append(vars, flags.SetByRun+"="+strings.Join(vars, " "))
}

// giveBack releases the lease. Only the child knows which timestamp it used last,
// so the service waits until the window has passed.
func giveBack(cmd *cobra.Command, holder *client.Holder, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), releaseTime)
	defer cancel()
	if err := holder.Release(ctx); err != nil {
		log.Warn("the lease could not be given back, so it runs out by itself", "error", err)
	}
}
