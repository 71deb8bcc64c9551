package etcdtest

import "os/exec"

// StartForLife starts a process that ends with this program, where that can be
// had (on Linux), and that Ctrl-C in this program's terminal doesn't reach.
func StartForLife(cmd *exec.Cmd) error { return startForLife(cmd) }

// PID is the process ID of the member, which was started.
func (m *Member) PID() int { return m.cmd.Process.Pid }

// Gone is closed when the member, as it was started last, has ended.
func (m *Member) Gone() <-chan struct{} { return m.gone }
