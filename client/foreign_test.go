package client_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/client"
)

// foreign holds answers of a proxy between the holder and the service: none of
// them carries the service's ErrorInfo.
var foreign = map[string]func(http.ResponseWriter){
	"401": page(http.StatusUnauthorized),
	"403": page(http.StatusForbidden),
	"404": page(http.StatusNotFound),
	"429": page(http.StatusTooManyRequests),
	"502": page(http.StatusBadGateway),
	"a redirect": func(w http.ResponseWriter) {
		w.Header().Set("Location",
			"http://b.test/")
		w.WriteHeader(307)
	},
	"a login page": page(http.StatusOK),
	"an empty answer": func(w http.ResponseWriter) {
		w.Header().Set("Content-Type",
			"application/proto")
	},
	"PERMISSION_DENIED in Connect's form": func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"code":"permission_denied","message":"no"}`))
	},
	"NOT_FOUND in Connect's form": func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"code":"not_found","message":"no"}`))
	},
}

func page(status int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = w.Write([]byte("<html>who are you?</html>"))
	}
}

// denying is a proxy that answers the next calls of one RPC itself: times of them.
type denying struct {
	http.Handler
	rpc    string
	answer func(http.ResponseWriter)
	times  atomic.Int32
}

func (d *denying) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, d.rpc) && d.times.Add(-1) >= 0 {
		d.answer(w)
		return
	}
	d.Handler.ServeHTTP(w, r)
}

// TestForeignAnswerEndsNoHolder checks that a holder whose lease was lost keeps
// asking although the first answers to Acquire are not the service's (C5).
func TestForeignAnswerEndsNoHolder(t *testing.T) {
	for name, answer := range foreign {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				d := &denying{Handler: w.service.handler(), rpc: "/Acquire", answer: answer}
				h := w.mustHold(client.WithHTTPClient(inProcess{d}))
				d.times.Store(3)
				w.service.loseAll()
				w.pass(ttl)
				w.mints(h, true)
				w.wantChanges(client.Held, client.Lost, client.Reacquired)
			})
		})
	}
}

// TestForeignAnswerEndsNoLease checks that such answers count as failed
// heartbeats (C3).
func TestForeignAnswerEndsNoLease(t *testing.T) {
	for name, answer := range foreign {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				d := &denying{Handler: w.service.handler(), rpc: "/Heartbeat", answer: answer}
				h := w.mustHold(client.WithHTTPClient(inProcess{d}))
				d.times.Store(3)
				w.pass(ttl)
				w.mints(h, true)
				w.wantChanges(client.Held)
			})
		})
	}
}

// TestForeignAnswerAtOneAddress checks that a holder asks the other address,
// whatever a proxy at the first one answers.
func TestForeignAnswerAtOneAddress(t *testing.T) {
	for name, answer := range foreign {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				bad := &denying{rpc: "", answer: answer}
				bad.times.Store(1 << 30)
				hosts := byHost{hostA: bad, hostB: w.service.handler()}
				for range 8 { // half of the holders start at the bad one
					ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
					h, err := client.Hold(ctx, "http://a.test,http://b.test", "app",
						client.WithHTTPClient(hosts), client.WithSteadyClock(w.steady))
					if err != nil {
						w.Fatal(err)
					}
					if err := h.Release(ctx); err != nil {
						w.Error(err)
					}
					cancel()
				}
			})
		})
	}
}

// byHost is an HTTP client without a network: it calls the handler of each host.
type byHost map[string]http.Handler

func (b byHost) Do(req *http.Request) (*http.Response, error) {
	return inProcess{b[req.URL.Host]}.Do(req)
}

// TestErrSaysWhy checks that Err returns the cause while nothing can be minted.
func TestErrSaysWhy(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.mustHold()
		if err := h.Err(); err != nil {
			w.Errorf("Err is %v while the lease is valid, want nil", err)
		}
		w.service.set(func(context.Context, any) error { return refusal(connect.CodeNotFound) },
			nil)
		w.pass(ttl - time.Millisecond)
		if err := h.Err(); err != nil {
			w.Errorf("Err is %v just before the deadline, want nil", err)
		}
		w.pass(2 * time.Millisecond)
		if err := h.Err(); connect.CodeOf(err) != connect.CodeNotFound {
			w.Errorf("Err is %v after the deadline, want the NOT_FOUND of the last heartbeat", err)
		}
		w.service.set(nil, nil)
		w.pass(ttl)
		if err := h.Err(); err != nil {
			w.Errorf("Err is %v after heartbeats succeed again, want nil", err)
		}
		if err := h.Release(w.Context()); err != nil {
			w.Error(err)
		}
		if err := h.Err(); err == nil {
			w.Error("Err is nil after Release, want ErrEnded")
		}
	})
}
