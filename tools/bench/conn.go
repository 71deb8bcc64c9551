package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"

	"google.golang.org/protobuf/proto"
)

// conn is a connection on which one call after the other is made, in the Connect
// protocol over HTTP/1.1, with the headers that connect-go sends. It needs a
// fraction of the CPU time of a full client. On a small machine, a full client would
// compete with the server for the cores, and hide how fast the server is.
type conn struct {
	net.Conn
	in   *bufio.Reader
	body []byte
	out  []byte
}

// dial opens a connection that is closed when ctx ends.
func dial(ctx context.Context, addr string) (*conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = c.Close() })
	return &conn{Conn: c, in: bufio.NewReaderSize(c, 16<<10)}, nil
}

// dialMany opens several connections.
func dialMany(ctx context.Context, addr string, n int) (all []*conn, err error) {
	for range n {
		c, err := dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// request returns a call in wire format.
func request(procedure string, msg proto.Message) ([]byte, error) {
	return appendRequest(nil, procedure, msg)
}

func appendRequest(b []byte, procedure string, msg proto.Message) ([]byte, error) {
	b = append(b, "POST "...)
	b = append(b, procedure...)
	b = append(b, " HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: cirrus-bench\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(proto.Size(msg)), 10)
	b = append(b, "\r\nConnect-Protocol-Version: 1\r\nContent-Type: application/proto\r\n\r\n"...)
	return proto.MarshalOptions{}.MarshalAppend(b, msg)
}

// call makes a call and reads its reply.
func (c *conn) call(procedure string, req, resp proto.Message) (err error) {
	if c.out, err = appendRequest(c.out[:0], procedure, req); err != nil {
		return err
	}
	body, err := c.send(c.out)
	if err != nil {
		return fmt.Errorf("%s: %w", procedure, err)
	}
	return proto.Unmarshal(body, resp)
}

// send makes a call that is ready for the wire. The reply's body is good until
// the next one.
func (c *conn) send(req []byte) ([]byte, error) {
	if _, err := c.Write(req); err != nil {
		return nil, err
	}
	status, err := c.line()
	if err != nil {
		return nil, err
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200 "))
	failed := string(status)
	if err := c.receive(); err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("the server answered %s: %s", failed, c.body)
	}
	return c.body, nil
}

// receive reads what follows the status line.
func (c *conn) receive() error {
	length := -1
	for {
		header, err := c.line()
		if err != nil {
			return err
		}
		if len(header) == 0 {
			return c.read(length)
		}
		if value, ok := bytes.CutPrefix(header, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
}

// read reads a body of that length, or one in chunks where there is none.
func (c *conn) read(length int) error {
	if length >= 0 {
		if cap(c.body) < length {
			c.body = make([]byte, length)
		}
		c.body = c.body[:length]
		_, err := io.ReadFull(c.in, c.body)
		return err
	}
	buf := bytes.NewBuffer(c.body[:0])
	if _, err := buf.ReadFrom(httputil.NewChunkedReader(c.in)); err != nil {
		return err
	}
	c.body = buf.Bytes()
	end, err := c.line()
	if err == nil && len(end) > 0 {
		err = errors.New("a reply in chunks has a trailer, which none here should")
	}
	return err
}

// line reads a line without its end. It is good until the next one.
func (c *conn) line() ([]byte, error) {
	line, err := c.in.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}
