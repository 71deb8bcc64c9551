package hint_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/hint"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// refused returns a refusal as a service sends it.
func refused(t *testing.T, domain string, reason fencing.Reason, metadata map[string]string) error {
	t.Helper()
	e := connect.NewError(connect.CodeNotFound, errors.New("no"))
	d, err := connect.NewErrorDetail(&errdetails.ErrorInfo{Domain: domain, Reason: string(reason),
		Metadata: metadata})
	if err != nil {
		t.Fatal(err)
	}
	e.AddDetail(d)
	return fmt.Errorf("refused: %w", e)
}

func TestAdd(t *testing.T) {
	plain := errors.New("plain")
	for _, c := range []struct {
		name string
		err  error
		want string // at the end; "": nothing is added
	}{
		{"no hint", plain, ""},
		{"a service's reason", refused(t, "cirrus", fencing.ReasonPoolNotFound, nil), `; "cirrus pools ls" lists the pools`},
		{"another domain's", refused(t, "elsewhere", fencing.ReasonPoolNotFound, nil), ""},
		{"a field that confirms", refused(t, "cirrus", fencing.ReasonInvalid, map[string]string{"confirmed_by": "confirm_long_times"}), "; on the command line that is --yes"},
		{"a refusal by the rules", &fencing.Refusal{Reason: fencing.ReasonPoolExists, Message: "no"}, `; "cirrus pools get" shows the pool`},
		{"a store's", store.WithHint(plain, store.HintCreate, "./data"), `; "cirrus init --data ./data" creates a store`},
		{"two of a store's", store.WithHint(store.WithHint(plain, store.HintRecover, ""), store.HintDeleteKeys, "/a/"), `; "etcdctl del --prefix /a/" deletes the keys; "cirrus recover" recovers a store`},
	} {
		got := hint.Add(c.err)
		if want := c.err.Error() + c.want; got.Error() != want {
			t.Errorf("%s: got %q, want %q", c.name, got, want)
		}
		if !errors.Is(got, c.err) {
			t.Errorf("%s: the error is no longer what it was", c.name)
		}
	}
	if hint.Add(nil) != nil {
		t.Error("no error has become one")
	}
}

// TestAttr: an error that is logged has its hint, and nothing else changes.
func TestAttr(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: hint.Attr}))
	log.Warn("text", "error", store.WithHint(errors.New("no"), store.HintEtcdCA, ""),
		"none", error(nil), "n", 1)
	if want := `error="no; the flag is --etcd-cacert" none=<nil> n=1`; !strings.Contains(
		out.String(), want) {
		t.Errorf("got %q, want %q in it", out.String(), want)
	}
}
