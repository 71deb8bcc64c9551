package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// unavailable says whether etcd could not do what it was asked just then.
func unavailable(err error) bool {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code() == codes.Unavailable
	}
	return status.Code(err) == codes.Unavailable
}

// explain says what to do about an error of etcd's, with the endpoints.
func (c *Config) explain(err error) error {
	at := c.endpoints()
	say := func(format string, args ...any) error {
		return fmt.Errorf("etcd at "+at+" "+format+": %w", append(args, err)...)
	}
	switch {
	case err == nil, errors.Is(err, errClosed):
		return err
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return say("refuses the user %q with this password: see --etcd-user and --etcd-password-file", c.User)
	case errors.Is(err, rpctypes.ErrUserEmpty), errors.Is(err, rpctypes.ErrInvalidAuthToken) && c.User == "":
		return say("wants a user: give --etcd-user and --etcd-password-file")
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return say("doesn't let the user %q do that: grant it a role with readwrite permission to the prefix %s", c.User, c.Prefix)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return say("is out of space: compact and defragment it, or raise its quota, then run \"etcdctl alarm disarm\"")
	case errors.Is(err, rpctypes.ErrCorrupt):
		return say("has found itself corrupt: replace the members that raise the alarm, as etcd's documentation says")
	case errors.Is(err, rpctypes.ErrTooManyOps):
		return say("takes fewer writes in a transaction than %d: raise its --max-txn-ops", MaxOps)
	case errors.Is(err, rpctypes.ErrCompacted):
		return say("was compacted while it was read: try again")
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded:
		return say("did not answer within %v: see that a majority of its members runs and can be reached from here", c.Timeout)
	case unavailable(err):
		return say("is not available: see that a majority of its members runs and can be reached from here")
	case errors.Is(err, context.Canceled):
		return err
	}
	return say("refused")
}
