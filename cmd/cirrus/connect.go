package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/client"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// callTimeout bounds a call of a command, beside what it asks to wait for.
const callTimeout = 10 * time.Second

// addAddr adds the flag that says where the service is.
func addAddr(cmd *cobra.Command) {
	cmd.Flags().String("addr", "http://127.0.0.1:50051", "`URL` of the service; http:// may be left out")
}

// addPool adds the flag that names the pool.
func addPool(cmd *cobra.Command) {
	cmd.Flags().String("pool", "default", "`name` of the pool")
}

// address is what --addr says, as a URL.
func address(cmd *cobra.Command) (string, error) {
	addr, err := cmd.Flags().GetString("addr")
	if err != nil {
		return "", err
	}
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	return strings.TrimSuffix(addr, "/"), nil
}

// dialLeases and dialAdmin return clients for the service that --addr names.
// Nothing is sent until they are used.
func dialLeases(cmd *cobra.Command) (cirrusv1connect.LeaseServiceClient, error) {
	addr, err := address(cmd)
	if err != nil {
		return nil, err
	}
	return cirrusv1connect.NewLeaseServiceClient(httpClient(), addr), nil
}

func dialAdmin(cmd *cobra.Command) (cirrusv1connect.AdminServiceClient, error) {
	addr, err := address(cmd)
	if err != nil {
		return nil, err
	}
	return cirrusv1connect.NewAdminServiceClient(httpClient(), addr), nil
}

func httpClient() *http.Client { return client.NewHTTPClient(client.HTTPOptions{}) }

// queueTime is how much of a wait for a lease is spent in the service's queue:
// a little less than all, so that the service gets to say why it took so long.
func queueTime(wait time.Duration) time.Duration { return min(wait*9/10, fencing.MaxWait) }

// callContext bounds one call, wait included.
func callContext(cmd *cobra.Command, wait time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), callTimeout+wait)
}

// explain turns a call's error into the sentence that its user should read.
func explain(err error) error {
	var e *connect.Error
	if !errors.As(err, &e) {
		return err
	}
	message := escape([]byte(e.Message())) // it may repeat what somebody sent
	switch {
	case connect.IsWireError(err):
		return fmt.Errorf("%s (%s)", message, e.Code())
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted before there was an answer: what was asked for may have been done or not")
	}
	return fmt.Errorf("the service can't be reached: %s; is `cirrus serve` running, and is --addr right?", message)
}
