// Package hint says which flag or command of cirrus takes the step that an error
// suggests. The rules, the stores and the service name none themselves.
//
// It must not change what an error is: errors.Is and errors.As see through it.
package hint

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/store"
)

// domain is the domain of every ErrorInfo of the service.
const domain = "cirrus"

// byReason are the hints for refusals by the rules, be it of a service or here.
var byReason = map[fencing.Reason]string{
	fencing.ReasonPoolNotFound: `"cirrus pools ls" lists the pools`,
	fencing.ReasonPoolExists:   `"cirrus pools get" shows the pool`,
	fencing.ReasonNotOpened:    `who can vouch that no earlier store was lost creates one with "cirrus init", whose pools are open at once`,
}

// byField are the hints for refusals that a field of the request can confirm.
var byField = map[string]string{
	"confirm_long_times":   "on the command line that is --yes",
	"confirm_early_origin": "on the command line that is --early-origin",
}

// byKind are the hints for errors of stores. %s stands for what the step applies
// to.
var byKind = map[store.HintKind]string{
	store.HintCreate:          `"cirrus init --data %s" creates a store`,
	store.HintCreateInEtcd:    `"cirrus init --store etcd" creates a store`,
	store.HintRecover:         `"cirrus recover" recovers a store`,
	store.HintMigrate:         `run the same "cirrus migrate" again`,
	store.HintDeleteKeys:      `"etcdctl del --prefix %s" deletes the keys`,
	store.HintEtcdEndpoints:   "the flag is --etcd-endpoints",
	store.HintEtcdUser:        "the flags are --etcd-user and --etcd-password-file",
	store.HintEtcdCA:          "the flag is --etcd-cacert",
	store.HintEtcdCertificate: "the flags are --etcd-cert and --etcd-key",
	store.HintEtcdTxnOps:      "etcd's flag is --max-txn-ops",
}

// Add returns the error with the hints for it, if there are any, and nil for nil.
func Add(err error) error {
	if hints := find(err); len(hints) > 0 {
		return fmt.Errorf("%w; %s", err, strings.Join(hints, "; "))
	}
	return err
}

// Attr adds the hints to an error that is logged. It is for
// slog.HandlerOptions.ReplaceAttr.
func Attr(_ []string, a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok {
		a.Value = slog.AnyValue(Add(err))
	}
	return a
}

// find returns the hints for an error.
func find(err error) []string {
	if err == nil {
		return nil
	}
	var found []string
	reason, field := refusal(err)
	for _, hint := range []string{byReason[reason], byField[field]} {
		if hint != "" {
			found = append(found, hint)
		}
	}
	for _, h := range store.HintsOf(err) {
		text := byKind[h.Kind]
		if strings.Contains(text, "%s") {
			text = fmt.Sprintf(text, h.Arg)
		}
		if text != "" {
			found = append(found, text)
		}
	}
	return found
}

// refusal returns the reason of a refusal, by the rules or by a service, and the
// field of the request that can confirm what was refused.
func refusal(err error) (reason fencing.Reason, confirmedBy string) {
	var r *fencing.Refusal
	if errors.As(err, &r) {
		return r.Reason, r.ConfirmedBy
	}
	var e *connect.Error
	if !errors.As(err, &e) {
		return "", ""
	}
	for _, d := range e.Details() {
		if v, err := d.Value(); err == nil {
			if info, ok := v.(*errdetails.ErrorInfo); ok && info.GetDomain() == domain {
				return fencing.Reason(info.GetReason()), info.GetMetadata()[service.ConfirmedBy]
			}
		}
	}
	return "", ""
}
