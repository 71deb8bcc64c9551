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

// startForLife starts a process that the kernel kills when this program ends,
// however it ends: or rather when the thread that started it does.
func startForLife(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	result := make(chan error)
	starter() <- func() { result <- cmd.Start() }
	return <-result
}

// awaitStop waits until no thread of the process runs any more.
func awaitStop(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED, nil)
		if err != unix.EINTR {
			return err
		}
	}
}
