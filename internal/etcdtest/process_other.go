//go:build !linux

package etcdtest

import "os/exec"

// startForLife starts a process. There is no way here to have it killed along
// with this program.
func startForLife(cmd *exec.Cmd) error { return cmd.Start() }
