package etcdtest

// PID is the process ID of the member, which was started.
func (m *Member) PID() int { return m.cmd.Process.Pid }

// Gone is closed when the member, as it was started last, has ended.
func (m *Member) Gone() <-chan struct{} { return m.gone }
