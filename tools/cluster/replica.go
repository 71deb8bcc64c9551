package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/cirrus-id/cirrus/internal/etcdtest"
)

// patience is how long something may take that should come soon.
const patience = 30 * time.Second

// replica is a `cirrus serve`.
type replica struct {
	name       string
	path       string
	args       []string
	url, ready string
	log        string // the file for what it logs
	say        func(line string)

	cmd  *exec.Cmd
	gone chan struct{}
}

// Start starts it. It does not wait for it.
func (r *replica) Start() error {
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(r.path, r.args...)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := etcdtest.StartForLife(cmd); err != nil {
		return err
	}
	gone := make(chan struct{})
	r.cmd, r.gone = cmd, gone
	go func() {
		defer close(gone)
		r.relay(out)
		_ = cmd.Wait()  // how it ended, its log tells
		_ = log.Close() // it has all
	}()
	return nil
}

// relay passes on what it says of itself, after the greeting.
func (r *replica) relay(out io.Reader) {
	greeted := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if greeted {
			r.say(fmt.Sprintf("%s: %s", r.name, lines.Text()))
		}
		greeted = greeted || strings.HasPrefix(lines.Text(), "try: ")
	}
}

// Await waits until it leads or follows.
func (r *replica) Await() error {
	for deadline := time.Now().Add(patience); ; {
		select {
		case <-r.gone:
			log, _ := os.ReadFile(r.log)
			return fmt.Errorf("%s has ended: %s", r.name, log)
		case <-time.After(10 * time.Millisecond):
		}
		err := get(r.ready)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %v: %w; see %s", r.name, patience, err, r.log)
		}
	}
}

func get(url string) error {
	client := http.Client{Timeout: time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// Running says whether it was started and has not ended since.
func (r *replica) Running() bool {
	if r.cmd == nil {
		return false
	}
	select {
	case <-r.gone:
		return false
	default:
		return true
	}
}

// Kill ends it with SIGKILL, and waits for that.
func (r *replica) Kill() { r.end(syscall.SIGKILL) }

// Stop ends it with SIGTERM, and waits for that.
func (r *replica) Stop() { r.end(syscall.SIGTERM) }

func (r *replica) end(sig os.Signal) {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Signal(sig) // it may be gone already
	<-r.gone
}

// PID is its process ID.
func (r *replica) PID() int { return r.cmd.Process.Pid }

// Gone is closed when it has ended.
func (r *replica) Gone() <-chan struct{} { return r.gone }
