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

// listen takes orders from other terminals until stop is called.
func (c *cluster) listen() (stop func(), err error) {
	l, err := net.Listen("unix", socket(c.dir))
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it was closed
			}
			go c.answer(conn)
		}
	}()
	return func() { _ = l.Close() }, nil
}

// answer does what one line says.
func (c *cluster) answer(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // whoever asked may be gone
	line, _ := bufio.NewReader(conn).ReadString('\n')
	what, name, _ := strings.Cut(strings.TrimSpace(line), " ")
	said, err := "", fmt.Errorf("%q is no order: give start or kill", what)
	switch what {
	case "start":
		said, err = c.start(name)
	case "kill":
		said, err = c.kill(name)
	}
	if err != nil {
		said = err.Error()
	}
	fmt.Fprintln(conn, said) //nolint:errcheck // whoever asked may be gone
}

// ask gives an order to the cluster in the directory.
func ask(dir, what, name string, out io.Writer) error {
	conn, err := net.Dial("unix", socket(dir))
	if err != nil {
		return fmt.Errorf("no cluster runs in %s: %w", dir, err)
	}
	defer conn.Close() //nolint:errcheck // what it said was read
	if _, err := fmt.Fprintf(conn, "%s %s\n", what, name); err != nil {
		return err
	}
	_, err = io.Copy(out, conn)
	return err
}
