//go:build !linux

package process

import "os/exec"

// diesWithParent says that startForLife cannot do what its name says.
const diesWithParent = false

// startForLife starts a process. This system cannot have it killed when this
// program ends without stopping it.
func startForLife(cmd *exec.Cmd) error { return cmd.Start() }
