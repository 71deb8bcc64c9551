package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
)

func socket(dir string) string { return filepath.Join(dir, "control") }

// listen takes commands from other terminals until stop is called.
func (c *cluster) listen() (stop func(), err error) {
	l, err := net.Listen("unix", socket(c.dir))
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // stop closed the listener
			}
			go c.answer(conn)
		}
	}()
	return func() { _ = l.Close() }, nil
}

// answer carries out one command.
func (c *cluster) answer(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // the other end may be closed
	line, _ := bufio.NewReader(conn).ReadString('\n')
	what, name, _ := strings.Cut(strings.TrimSpace(line), " ")
	reply, err := "", fmt.Errorf("unknown command %q: give start or kill", what)
	switch what {
	case "start":
		reply, err = c.start(name)
	case "kill":
		reply, err = c.kill(name)
	}
	if err != nil {
		reply = err.Error()
	}
	fmt.Fprintln(conn, reply) //nolint:errcheck // the other end may be closed
}

// ask sends a command to the cluster in dir, and prints the reply.
func ask(dir, what, name string, out io.Writer) error {
	conn, err := net.Dial("unix", socket(dir))
	if err != nil {
		return fmt.Errorf("no cluster is running in %s: %w", dir, err)
	}
	defer conn.Close() //nolint:errcheck // the reply has been read
	if _, err := fmt.Fprintf(conn, "%s %s\n", what, name); err != nil {
		return err
	}
	_, err = io.Copy(out, conn)
	return err
}
