package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// endTime is how long a server may take to end by itself.
const endTime = 5 * time.Second

// child is a server process, seen from outside.
type child struct {
	cmd     *exec.Cmd
	ask     io.WriteCloser
	replies *bufio.Scanner
	addr    string
	metrics string // where its metrics are; "" for Nothing
}

// start starts a server and waits until it listens. args are further flags of
// its kind; name tells its profile from others.
func (b *bench) start(ctx context.Context, kind Kind, name string, args ...string) (*child, error) {
	args = slices.Concat(b.Server[1:], []string{"--kind", string(kind)}, args)
	if b.Profiles != "" {
		args = append(args, "--profile", filepath.Join(b.Profiles, fmt.Sprintf("%s-%s.prof", name, kind)))
	}
	cmd := exec.CommandContext(ctx, b.Server[0], args...)
	cmd.Stderr = b.Log
	cmd.WaitDelay = endTime
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("a server to measure can't be started: %w", err)
	}
	c := &child{cmd: cmd, ask: in, replies: bufio.NewScanner(out)}
	var hello Hello
	if err := c.reply(&hello); err != nil {
		return nil, errors.Join(err, c.end())
	}
	c.addr, c.metrics = hello.Addr, hello.Metrics
	return c, nil
}

// reply reads a line of the server's.
func (c *child) reply(to any) error {
	if !c.replies.Scan() {
		return errors.Join(errors.New("the server that is measured has gone"), c.replies.Err())
	}
	return json.Unmarshal(c.replies.Bytes(), to)
}

func (c *child) question(q string, to any) error {
	if _, err := io.WriteString(c.ask, q+"\n"); err != nil {
		return err
	}
	return c.reply(to)
}

func (c *child) usage() (u Usage, err error)   { return u, c.question(askUsage, &u) }
func (c *child) memory() (m Memory, err error) { return m, c.question(askMemory, &m) }

// end ends the server: it goes when nobody can ask it anything any more, and
// is killed if it doesn't.
func (c *child) end() error {
	closed := c.ask.Close()
	kill := time.AfterFunc(endTime, func() { _ = c.cmd.Process.Kill() }) // it may just have gone
	defer kill.Stop()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("the server that was measured failed: %w", err)
	}
	return closed
}
