// Command withetcd runs another command beside a real etcd of three members on
// loopback ports, whose URLs the command finds in CIRRUS_ETCD_ENDPOINTS, and
// ends with its exit code. It is for measurements: the members sync their disk,
// and wait for one another as long as etcd does by default. The data goes when
// the command has ended.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/cirrus-id/cirrus/internal/etcdtest"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: withetcd COMMAND [ARGUMENT…]: name the command that wants an etcd")
		os.Exit(2)
	}
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "withetcd: %v\n", err)
	}
	os.Exit(code)
}

func run(command []string) (code int, err error) {
	// An interrupt reaches the command as well, and ends this by way of it; a
	// SIGTERM is passed on.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "cirrus-etcd-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	etcd, err := etcdtest.New(etcdtest.Config{
		Dir: dir, Members: 3, Sync: true,
		Args: []string{"--heartbeat-interval", "100", "--election-timeout", "1000"},
	})
	if err != nil {
		return 1, err
	}
	if err := etcd.Start(); err != nil {
		return 1, err
	}
	defer etcd.Kill()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "CIRRUS_ETCD_ENDPOINTS="+strings.Join(etcd.Endpoints(), ","))
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil // it has said why
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
