package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/internal/process"
)

const (
	// readyTimeout is how long a replica may take to lead or to follow.
	readyTimeout = 30 * time.Second
	// stopTimeout is how long a replica may take to end when asked to.
	stopTimeout = 10 * time.Second
)

// replica is a `cirrus serve`. Its Process is the one that was started last.
type replica struct {
	*process.Process
	name       string
	path       string
	args       []string
	url, ready string
	log        string // the file that it logs to
	say        func(line string)
}

// Start starts the replica, and does not wait until it is ready.
func (r *replica) Start() error {
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the replica writes to a copy of it
	cmd := exec.Command(r.path, r.args...)
	cmd.Stderr = log
	cmd.Stdout = &relay{to: func(line string) { r.say(r.name + ": " + line) }}
	p, err := process.Start(cmd)
	if err != nil {
		return err
	}
	r.Process = p
	return nil
}

// Await waits until the replica leads or follows.
func (r *replica) Await() error {
	if err := r.Process.Await(context.Background(), readyTimeout,
		func() error { return isOK(r.ready) }); err != nil {
		return fmt.Errorf("%s: %w\nits log is %s", r.name, err, r.log)
	}
	return nil
}

func isOK(url string) error {
	client := http.Client{Timeout: time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}

// relay passes on the lines that a replica prints after its greeting.
type relay struct {
	to      func(line string)
	greeted bool
	partial []byte // a line whose end has not come
}

func (r *relay) Write(p []byte) (int, error) {
	r.partial = append(r.partial, p...)
	for {
		line, rest, ended := bytes.Cut(r.partial, []byte("\n"))
		if !ended {
			return len(p), nil
		}
		if r.greeted {
			r.to(string(line))
		}
		r.greeted = r.greeted || strings.HasPrefix(string(line), "try: ")
		r.partial = rest
	}
}
