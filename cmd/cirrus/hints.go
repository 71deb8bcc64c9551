package main

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/service"
)

// confirmingFlags are the flags for the fields by which a request confirms what the
// rules refuse otherwise.
var confirmingFlags = map[string]string{"confirm_long_times": "--yes", "confirm_early_origin": "--" + flags.EarlyOrigin}

// withConfirmingFlag adds the name of the flag to a refusal that asks for a
// confirming field.
func withConfirmingFlag(err error) error {
	if err == nil {
		return nil
	}
	if flag := confirmingFlags[confirmedBy(err)]; flag != "" {
		return fmt.Errorf("%w; on the command line that is %s", err, flag)
	}
	return err
}

// confirmedBy returns the confirming field that a refusal asks for, or "". The
// refusal comes from the rules or from a service.
func confirmedBy(err error) string {
	var r *fencing.Refusal
	if errors.As(err, &r) {
		return r.ConfirmedBy
	}
	var e *connect.Error
	if !errors.As(err, &e) {
		return ""
	}
	for _, d := range e.Details() {
		if v, err := d.Value(); err == nil {
			if info, ok := v.(*errdetails.ErrorInfo); ok {
				return info.GetMetadata()[service.ConfirmedBy]
			}
		}
	}
	return ""
}
