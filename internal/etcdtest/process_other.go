//go:build !linux

package etcdtest

import "os/exec"

// startForLife starts a process. There is no way here to have it killed along
// with this program.
func startForLife(cmd *exec.Cmd) error { return cmd.Start() }

// awaitStop does not wait: there is no way here that leaves the process's end to
// be waited for.
func awaitStop(int) error { return nil }
