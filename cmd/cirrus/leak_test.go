//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// few is a server that may open only a few files.
type few struct {
	t         *testing.T
	api, side string // addresses
	log       string // file
	cmd       *exec.Cmd
}

// serveFew starts a server on a new store that may open this many files.
func serveFew(t *testing.T, files int) *few {
	t.Helper()
	dir := t.TempDir()
	s := &few{t: t, log: dir + "/log"}
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// testscript.Main put it into PATH
	if out, err := exec.Command("cirrus", "init", "--data", dir+"/d").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.cmd = exec.Command("/bin/sh", "-c", fmt.Sprintf(
		"ulimit -n %d; exec cirrus serve --data %s/d --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0",
		files, dir))
	s.cmd.Stderr = log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	})
	lines := bufio.NewReader(out)
	for _, part := range []struct {
		line string
		to   *string
	}{{`^cirrus serves http://(\S+)`, &s.api},
		{`^metrics and health on http://([^/]+)/`, &s.side}} {
		line, err := lines.ReadString('\n')
		m := regexp.MustCompile(part.line).FindStringSubmatch(line)
		if err != nil || m == nil {
			t.Fatalf("serve printed %q (%v), want its addresses:\n%s", line, err, s.logged())
		}
		*part.to = m[1]
	}
	return s
}

func (s *few) logged() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// dial connects to the API. The kernel takes the connection, even if the server does
// not.
func (s *few) dial() net.Conn {
	s.t.Helper()
	c, err := net.DialTimeout("tcp", s.api, time.Minute)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// call makes a call over a connection, and leaves the connection open.
func call(c net.Conn, procedure, body string) (string, error) {
	fmt.Fprintf(c, "POST /cirrus.v1.LeaseService/%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: "+
		"application/json\r\nContent-Length: %d\r\n\r\n%s", procedure, len(body), body)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return string(text), err
}

// leak opens n connections, and makes a call over each if ask is set. It returns how
// many calls failed because the server had closed the connection.
func (s *few) leak(n int, ask bool) (refused int) {
	for range n {
		c := s.dial()
		if ask {
			if _, err := call(c, "Heartbeat",
				`{"nodeId":9,"epoch":"1","instanceId":"0123456789abcdef"}`); err != nil &&
				!strings.Contains(err.Error(), "LEASE_LOST") {
				refused++
			}
		}
	}
	return refused
}

func (s *few) probe(path string) (string, error) {
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.side + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// TestLeakedConnections checks that clients that leak connections take no file
// descriptor that the store, the probes or an earlier client need.
func TestLeakedConnections(t *testing.T) {
	for files, leaked := range map[int]int{64: 120, 1024: 1100} {
		t.Run(fmt.Sprint(files), func(t *testing.T) {
			if testing.Short() && files > 64 {
				t.Skip("it opens a thousand connections")
			}
			s := serveFew(t, files)
			good := s.dial()
			if _, err := call(good, "Acquire", `{"appId":"good"}`); err != nil {
				t.Fatal(err)
			}
			if s.leak(leaked, true) == 0 {
				t.Errorf("all of %d connections were accepted with %d files, want some refused",
					leaked, files)
			}
			s.leak(leaked/10, false) // and send nothing
			for path, want := range map[string]string{"/livez": "ok", "/readyz": "ok",
				"/metrics": `cirrus_connections_refused_total{listener="api",reason="full"}`} {
				if got, err := s.probe(path); err != nil || !strings.Contains(got, want) {
					t.Errorf("%s: %.100s, %v", path, got, err)
				}
			}
			for i := range 3000 { // enough to fill several log files of the store
				text, err := call(good, "Acquire", fmt.Sprintf(`{"appId":"app-%d%s"}`, i%50,
					strings.Repeat("x", 200)))
				var got struct {
					Lease struct {
						NodeID                     int `json:"nodeId"`
						Epoch, InstanceID, FloorMs string
					}
				}
				if err == nil {
					err = json.Unmarshal([]byte(text), &got)
				}
				if err == nil {
					_, err = call(good,
						"Release", fmt.Sprintf(`{"nodeId":%d,"epoch":%q,"instanceId":%q}`,
							got.Lease.NodeID, got.Lease.Epoch, got.Lease.InstanceID))
				}
				if err != nil && !strings.Contains(err.Error(), "NO_FREE_NODE_ID") {
					t.Fatalf("grant %d: %v\n%s", i, err, s.logged())
				}
			}
			if n := strings.Count(s.logged(),
				"level=WARN msg=\"too many open connections"); n < 1 ||
				n > 20 {
				t.Errorf("the log has %d lines about too many connections, want 1 to 20:\n%s", n,
					s.logged())
			}
			if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := s.cmd.Wait(); err != nil {
				t.Errorf("serve ended with %v:\n%s", err, s.logged())
			}
		})
	}
}
