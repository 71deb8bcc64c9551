package etcdtest

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// starter starts processes from one thread that lasts as long as this program.
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

// StartForLife starts a process that the kernel kills when this program ends,
// however it ends: or rather when the thread that started it does. It has a
// process group of its own, so that Ctrl-C reaches this program alone.
func StartForLife(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true
	result := make(chan error)
	starter() <- func() { result <- cmd.Start() }
	return <-result
}

// AwaitStop waits until no thread of the process runs any more.
func AwaitStop(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED, nil)
		if err != unix.EINTR {
			return err
		}
	}
}
