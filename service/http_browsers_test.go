package service

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// asked is what a request says of where it comes from.
type asked struct {
	host, origin string
	reason       string // of the refusal; "": it is answered
}

// A loopback listener answers to names that mean loopback and to those that are
// allowed; and no listener to a page's origin that isn't.
func TestBrowsersAreRefused(t *testing.T) {
	h := newHost(t, nil)
	var err error
	if h.s.cfg.Browsers, err = NewBrowsers([]string{"https://console.example"},
		[]string{"Cirrus.example", "192.0.2.7"}); err != nil {
		t.Fatal(err)
	}
	const badHost, badOrigin = string(reasonBadHost), string(reasonBadOrigin)
	anywhere := []asked{
		{"", "http://evil.example:50051", badOrigin},
		{"", "http://localhost:3000", badOrigin},
		{"", "http://console.example", badOrigin},
		{"", "https://console.example:444", badOrigin},
		{"", "null", badOrigin},
		{"", "https://console.example", ""},
		{"", "https://Console.Example", ""},
		{"", "", ""},
	}
	loopback := append([]asked{
		{"evil.example:50051", "", badHost},
		{"evil.example:50051", "http://evil.example:50051", badHost},
		{"evil.example.:50051", "", badHost},
		{"evil.example", "https://console.example", badHost},
		{"localhost.evil.example", "", badHost},
		{"127.0.0.1.evil.example", "", badHost},
		{"notlocalhost", "", badHost},
		{"0.0.0.0:50051", "", badHost},
		{"192.0.2.8:50051", "", badHost},
		{"[2001:db8::1]:50051", "", badHost},
		{"localhost", "", ""},
		{"LocalHost:50051", "", ""},
		{"localhost.:50051", "", ""},
		{"app.localhost:1", "", ""},
		{"127.0.0.1:50051", "", ""},
		{"127.9.8.7", "", ""},
		{"[::1]:50051", "", ""},
		{"[::1]", "", ""},
		{"[::ffff:127.0.0.1]:50051", "", ""},
		{"cirrus.example:50051", "", ""},
		{"CIRRUS.example", "", ""},
		{"192.0.2.7:1", "", ""},
	}, anywhere...)
	elsewhere := append([]asked{
		{"evil.example:50051", "", ""},
		{"evil.example:50051", "http://evil.example:50051", badOrigin},
	}, anywhere...)
	for name, cases := range map[string][]asked{"loopback": loopback, "elsewhere": elsewhere} {
		url := serveAs(t, h, name == "loopback")
		for _, c := range cases {
			for _, path := range []string{acquirePath,
				cirrusv1connect.AdminServiceUpdatePoolProcedure, healthCheckProcedure, "/nothing"} {
				c.ask(t, h, name, http.MethodPost, url[0]+path)
			}
			for _, path := range []string{"/metrics", "/livez", "/readyz"} {
				c.ask(t, h, name, http.MethodGet, url[1]+path)
			}
		}
	}
	if n := strings.Count(h.log.String(), "a web page may have sent"); n < 1 || n > 4 {
		t.Errorf("the log tells of it %d times, want once a handler", n)
	}
}

// serveAs serves both sides of a host, and returns their URLs.
func serveAs(t *testing.T, h *host, loopback bool) (urls [2]string) {
	log := slog.New(slog.DiscardHandler)
	for i, server := range []*http.Server{NewHTTPServer(h.s.Handler(), log),
		NewMetricsServer(h.s.MetricsHandler(), log)} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		urls[i] = "http://" + l.Addr().String()
		if !loopback {
			l = public{l}
		}
		served := make(chan struct{})
		go func() { defer close(served); _ = server.Serve(l) }()
		t.Cleanup(func() { server.Close(); <-served })
	}
	return urls
}

// public is a listener that says it listens on all addresses.
type public struct{ net.Listener }

func (public) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4zero, Port: 50051} }

func (a asked) ask(t *testing.T, h *host, listener, method, url string) {
	t.Helper()
	req := must(http.NewRequest(method, url, strings.NewReader(`{}`)))
	req.Header.Set("Content-Type", asJSON)
	req.Host = a.host
	if a.origin != "" {
		req.Header.Set("Origin", a.origin)
	}
	resp, err := h.h1.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := must(io.ReadAll(resp.Body))
	if (resp.StatusCode == http.StatusForbidden) != (a.reason != "") {
		t.Errorf("%s %s, Host %q, Origin %q: %s %s, want the refusal %q", listener, url, a.host,
			a.origin, resp.Status, body, a.reason)
	}
	if a.reason == "" {
		return
	}
	var said struct{ Code, Message string }
	if err := json.Unmarshal(body, &said); err != nil || said.Code != "permission_denied" ||
		!strings.Contains(string(body), a.reason) ||
		!strings.Contains(said.Message, "allowed-") || resp.Header.Get("Content-Type") != asJSON {
		t.Errorf("%s %s, Host %q, Origin %q: the refusal says %s (%v)", listener, url, a.host,
			a.origin, body, err)
	}
}

// A refusal reaches each protocol, gRPC in its own way, and does nothing.
func TestBrowsersInEveryProtocol(t *testing.T) {
	h := newHost(t, nil)
	before := h.dump()
	for _, p := range h.protocols() {
		ctx, info := connect.NewClientContext(context.Background())
		info.RequestHeader().Set("Origin", "http://evil.example")
		_, err := p.leases.Acquire(ctx, &cirrusv1.AcquireRequest{AppId: "a"})
		if connect.CodeOf(err) != connect.CodePermissionDenied ||
			!strings.Contains(err.Error(), "allowed-origins") && p.name != "gRPC-Web" &&
				p.name != "gRPC-Web JSON" {
			t.Errorf("%s: %v", p.name, err)
		}
	}
	if after := h.dump(); after != before {
		t.Errorf("something changed:\n%s", after)
	}
}

// What is neither an origin nor a host is not taken for one.
func TestBrowsersAreChecked(t *testing.T) {
	for _, c := range []struct {
		text   string
		origin bool
	}{
		{"console.example", true}, {"https://console.example/", true}, {"https://console.example/a", true}, {"null", true}, {"*", true}, {"", true}, {"https://", true}, {"https://a b", true},
		{"http://cirrus.example", false}, {"cirrus.example:50051", false}, {"*", false}, {"*.example", false}, {"", false}, {"cirrus.example/", false}, {"[::1]", false},
	} {
		var err error
		if c.origin {
			_, err = NewBrowsers([]string{c.text}, nil)
		} else {
			_, err = NewBrowsers(nil, []string{c.text})
		}
		if err == nil {
			t.Errorf("%q was taken", c.text)
		}
	}
}
