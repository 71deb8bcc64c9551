package service

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
)

// Browsers says which web pages may ask, and by which names a listener on
// loopback may be asked.
//
// No browser is a client of Cirrus, but every page that somebody opens can have
// one send requests: to an address that only this machine, or this network,
// reaches. Two headers tell, and no page can forge them. Origin names the page
// on every POST. Host is the name by which the browser reached the server, so on
// loopback a foreign one is a page whose name was made to lead there (DNS
// rebinding): its reads need no Origin, and to the browser they are the page's
// own.
type Browsers struct {
	origins map[string]bool
	hosts   map[string]bool
}

// NewBrowsers returns a Browsers that lets pages of these origins ask, such as
// "https://console.example", and loopback listeners be asked by these names or
// IP addresses, without ports, beside those that mean loopback anyway.
func NewBrowsers(origins, hosts []string) (*Browsers, error) {
	b := &Browsers{origins: map[string]bool{}, hosts: map[string]bool{}}
	for _, text := range origins {
		u, err := url.Parse(text)
		if err != nil || u.Scheme == "" || u.Host == "" || text != u.Scheme+"://"+u.Host {
			return nil, fmt.Errorf("the origin %s is none: give a scheme and a host, and the port unless it is the scheme's own, such as https://console.example", quoted(text))
		}
		b.origins[strings.ToLower(text)] = true
	}
	for _, text := range hosts {
		if hostName(text) != strings.ToLower(text) || strings.ContainsAny(text, "/*") || text == "" {
			return nil, fmt.Errorf("the host %s is none: give a name or an IP address, without a port, such as cirrus.example", quoted(text))
		}
		b.hosts[strings.ToLower(text)] = true
	}
	return b, nil
}

// hostName is the name or IP address in a Host header.
func hostName(host string) string {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// answersTo says whether a loopback listener may be asked by a name. No page
// can make a name of its own out of those that are allowed anyway.
func (b *Browsers) answersTo(name string) bool {
	if name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") || b.hosts[name] {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback()
}

// refusal says why a request is refused, or returns nil.
func (b *Browsers) refusal(r *http.Request) *fencing.Refusal {
	if name := hostName(r.Host); onLoopback(r.Context()) && !b.answersTo(name) {
		return &fencing.Refusal{Reason: reasonBadHost, Message: fmt.Sprintf(
			"this server listens on loopback and was asked as %s, which may be a web page's doing: ask it as localhost, or add this name to the server's allowed-hosts",
			quoted(name))}
	}
	for _, origin := range r.Header.Values("Origin") {
		if !b.origins[strings.ToLower(origin)] {
			return &fencing.Refusal{Reason: reasonBadOrigin, Message: fmt.Sprintf(
				"this request comes from a web page of %s, and no page may ask: if it is yours, add this origin to the server's allowed-origins",
				quoted(origin))}
		}
	}
	return nil
}

// refuseBrowsers turns away requests that a web page sent, or may have sent.
func (s *Service) refuseBrowsers(next http.Handler) http.Handler {
	errs := connect.NewErrorWriter()
	told := &seldom{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refused := s.cfg.Browsers.refusal(r)
		if refused == nil {
			next.ServeHTTP(w, r)
			return
		}
		if since, ok := told.may(s.cfg.Steady.Now()); ok {
			s.log.Warn("a request was refused that a web page may have sent", "why", refused.Message, "path", quoted(r.URL.Path), "from", r.RemoteAddr, "since_last_told", since)
		}
		if ctype := r.Header.Get("Content-Type"); ctype != "application/grpc" && !strings.HasPrefix(ctype, "application/grpc+") {
			// Whatever it is, it gets a status that says no: 403. gRPC, which
			// no browser can speak, has its own place for that.
			r = &http.Request{Method: http.MethodPost, Header: http.Header{}}
		}
		_ = errs.Write(w, r, toWire(s.refusal(refused))) // it may be gone
	})
}

// loopbackKey is where a request's context says that its listener is on
// loopback.
type loopbackKey struct{}

func onLoopback(ctx context.Context) bool { return ctx.Value(loopbackKey{}) != nil }

// noteLoopback is for http.Server.BaseContext.
func noteLoopback(l net.Listener) context.Context {
	ctx := context.Background()
	if a, ok := l.Addr().(*net.TCPAddr); ok && a.IP.IsLoopback() {
		return context.WithValue(ctx, loopbackKey{}, true)
	}
	return ctx
}
