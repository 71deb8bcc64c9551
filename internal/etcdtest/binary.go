// Package etcdtest runs real etcd clusters on loopback ports, for tests,
// measurements and make cluster. It knows nothing of Cirrus.
package etcdtest

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Binary returns the path of the etcd server of the version in tools/etcd/go.mod.
// The first time, Go builds the server, which takes half a minute, and caches it.
var Binary = sync.OnceValues(func() (string, error) {
	mod, err := run("", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	return run(filepath.Join(filepath.Dir(mod), "tools", "etcd"), "tool", "-n",
		"go.etcd.io/etcd/server/v3")
})

func run(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
