package process

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// diesWithParent says that startForLife does what its name says.
const diesWithParent = true

// starter starts processes from one thread that lives as long as this program.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go serve(work)
	return work
})

func serve(work <-chan func()) {
	runtime.LockOSThread()
	for f := range work {
		f()
	}
}

// startForLife starts a process that the kernel kills when this program ends,
// however it ends. The kernel counts from the end of the thread that started the
// process, hence the starter. The process has a group of its own, so that Ctrl-C
// reaches this program alone.
func startForLife(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true
	result := make(chan error)
	starter() <- func() { result <- cmd.Start() }
	return <-result
}

// awaitFrozen waits until every thread of the process has stopped.
func awaitFrozen(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED, nil)
		if err != unix.EINTR {
			return err
		}
	}
}
