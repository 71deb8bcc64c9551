package etcd

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cirrus-id/cirrus/store"
)

// unavailable reports whether etcd could not do what it was asked at that moment.
func unavailable(err error) bool {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code() == codes.Unavailable
	}
	return status.Code(err) == codes.Unavailable
}

// explain adds to an error of etcd's what to do about it, and the endpoints.
func (c *Config) explain(err error) error {
	at := c.endpoints()
	say := func(format string, args ...any) error {
		return fmt.Errorf("etcd at "+at+" "+format+": %w", append(args, err)...)
	}
	hint := func(kind store.HintKind, format string, args ...any) error {
		return store.WithHint(say(format, args...), kind, "")
	}
	switch {
	case err == nil, errors.Is(err, errClosed):
		return err
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return hint(store.HintEtcdUser, "refuses the user %q with this password: check both",
			c.User)
	case errors.Is(err, rpctypes.ErrUserEmpty), errors.Is(err, rpctypes.ErrInvalidAuthToken) &&
		c.User == "":
		return hint(store.HintEtcdUser, "wants a user: give one and its password")
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return say(
			"doesn't let the user %q do that: grant it a role with readwrite permission to the prefix %s", c.User, c.Prefix)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return say(
			"is out of space: compact and defragment it, or raise its quota, then run \"etcdctl alarm disarm\"")
	case errors.Is(err, rpctypes.ErrCorrupt):
		return say(
			"has found itself corrupt: replace the members that raise the alarm, as etcd's documentation says")
	case errors.Is(err, rpctypes.ErrTooManyOps):
		return hint(store.HintEtcdTxnOps,
			"takes fewer writes in a transaction than %d: raise its limit", MaxOps)
	case errors.Is(err, rpctypes.ErrCompacted):
		return say("was compacted while it was read: try again")
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded:
		return say(
			"did not answer within %v: see that a majority of its members runs and can be reached from here", c.Timeout)
	case unavailable(err):
		return say(
			"is not available: see that a majority of its members runs and can be reached from here")
	case errors.Is(err, context.Canceled), errors.Is(err, errSessionLost):
		return err
	}
	return say("refused")
}

// diagnose adds the health of each member to an error that says no more than that
// etcd did not answer. That takes up to the timeout, so it is for callers that have
// to wait anyway.
func (c *Config) diagnose(err error) error {
	if err == nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errSessionLost) &&
		!unavailable(err) {
		return err
	}
	found := make([]string, len(c.Endpoints))
	hints := make([]store.HintKind, len(c.Endpoints))
	var wg sync.WaitGroup
	for i, endpoint := range c.Endpoints {
		wg.Go(func() {
			text, hint := c.examine(endpoint)
			found[i], hints[i] = endpoint+" "+text, hint
		})
	}
	wg.Wait()
	err = fmt.Errorf("%w (%s)", err, strings.Join(found, "; "))
	for _, hint := range hints {
		if hint != "" {
			err = store.WithHint(err, hint, "")
		}
	}
	return err
}

// examine asks a member for its health, and returns a phrase that follows its name,
// and a hint.
func (c *Config) examine(endpoint string) (text string, hint store.HintKind) {
	transport := &http.Transport{TLSClientConfig: c.TLS.Clone(), DisableKeepAlives: true}
	client := http.Client{Transport: transport, Timeout: c.Timeout}
	resp, err := client.Get(strings.TrimSuffix(endpoint, "/") + "/health")
	if err != nil {
		return obstacle(endpoint, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // a part of it may do
	var health struct{ Health, Reason string }
	switch err := json.Unmarshal(body, &health); {
	case err != nil || health.Health == "":
		return fmt.Sprintf("does not answer like etcd, but with %q", resp.Status), ""
	case health.Health != "true":
		return "is not healthy: " + health.Reason, ""
	}
	return "is healthy", ""
}

// obstacle returns why a member could not be asked, as a phrase that follows its
// name, and a hint.
func obstacle(endpoint string, err error) (text string, hint store.HintKind) {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		dns       *net.DNSError
	)
	switch {
	case errors.As(err, &authority):
		return "has a certificate of an unknown authority: give that authority's certificates",
			store.HintEtcdCA
	case errors.As(err, &host):
		return "has a certificate for another name: " + host.Error(), ""
	case strings.Contains(err.Error(), "remote error: tls:"): // the library has no type for it
		return "doesn't take this replica's certificate: give one that etcd's authority has signed, and its key: " + err.Error(), store.HintEtcdCertificate
	case errors.Is(err, io.EOF) && strings.HasPrefix(endpoint, "https"):
		return "closes the connection when TLS starts: if it doesn't use TLS, write it with http://", ""
	case errors.Is(err, io.EOF):
		return "closes the connection: if it uses TLS, write it with https://", ""
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refuses connections: nothing listens there", ""
	case errors.As(err, &dns):
		return "has a host name that can't be resolved", ""
	case errors.Is(err, context.DeadlineExceeded):
		return "does not answer", ""
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // without the ports, which differ each time, so that the log has it once
	}
	return "can't be asked: " + err.Error(), ""
}
