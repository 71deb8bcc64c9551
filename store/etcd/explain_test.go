package etcd

import (
	"net"
	"strings"
	"testing"
	"time"
)

// TestObstacleIsTheSame: the text for a member that closes connections is the same each
// time, or the log would have it once a second.
func TestObstacleIsTheSame(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// Closing with unread data resets the connection.
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close()
		}
	}()
	cfg := Config{Timeout: 10 * time.Second}
	first, _ := cfg.examine("http://" + l.Addr().String())
	if !strings.Contains(first, "connection reset") {
		t.Errorf("got %q, want it to say that the connection was reset", first)
	}
	if again, _ := cfg.examine("http://" + l.Addr().String()); again != first {
		t.Errorf("got %q and then %q, want the same", first, again)
	}
}
