package service

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
)

// answersTo reports whether a loopback listener may be addressed by a name. No page
// can make one of the always allowed names its own.
func (b *Browsers) answersTo(name string) bool {
	if name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") || b.hosts[name] {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback()
}

// refusal returns why a request is refused, or nil.
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

// refuseBrowsers refuses requests that a web page sent, or may have sent.
func (s *Service) refuseBrowsers(next http.Handler) http.Handler {
	errs := connect.NewErrorWriter()
	lines := &seldom{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refused := s.cfg.Browsers.refusal(r)
		if refused == nil {
			next.ServeHTTP(w, r)
			return
		}
		if since, ok := lines.may(s.cfg.Steady.Now()); ok {
			s.log.Warn("a request was refused that a web page may have sent",
				"why", refused.Message, "path", quoted(r.URL.Path), "from", r.RemoteAddr,
				"since_last_told", since)
		}
		if ctype := r.Header.Get("Content-Type"); ctype != "application/grpc" &&
			!strings.HasPrefix(ctype, "application/grpc+") {
			// The answer has the status 403, whatever the request was. Only gRPC,
			// which no browser can send, has the code in a place of its own.
			r = &http.Request{Method: http.MethodPost, Header: http.Header{}}
		}
		_ = errs.Write(w, r, s.wireError(refused)) // the client may be gone
	})
}

// loopbackKey is the key in a request's context if its listener is on loopback.
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
