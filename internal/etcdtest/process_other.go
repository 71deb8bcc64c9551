//go:build !linux

package etcdtest

import "os/exec"

// StartForLife starts a process. There is no way here to have it killed along
// with this program.
func StartForLife(cmd *exec.Cmd) error { return cmd.Start() }

// AwaitStop does not wait: there is no way here that leaves the process's end to
// be waited for.
func AwaitStop(int) error { return nil }
