package dial

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/internal/reach"
)

// answeredError is an error that the service returned, in words for a user.
type answeredError struct {
	text  string
	error // as the service returned it, with its details
}

// Error returns the words.
func (e answeredError) Error() string { return e.text }

// Unwrap returns the service's error.
func (e answeredError) Unwrap() error { return e.error }

// Explain turns the error of a call into a sentence for a user.
func Explain(err error) error {
	var all reach.Failures
	if errors.As(err, &all) {
		texts := make([]string, len(all))
		for i, f := range all {
			texts[i] = fmt.Sprintf("%s: %s", f.Address, Message(f.Err))
		}
		return fmt.Errorf(
			"no address of the service can be used: %s; is `cirrus serve` running, and "+
				"is --addr right?%s", strings.Join(texts, "; "), proxyHint())
	}
	var e *connect.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case connect.IsWireError(err):
		return answeredError{Message(err), e}
	case errors.Is(err, context.Canceled):
		return errors.New(
			"interrupted before there was an answer: what was asked for may have been " +
				"done or not")
	}
	return fmt.Errorf("the service can't be reached: %s; is `cirrus serve` running, and is --addr "+
		"right?%s", Message(err), proxyHint())
}

// proxyHint names the proxy that the environment sets, if there is one: the proxy
// may be what fails.
func proxyHint() string {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		if proxy, err := url.Parse(os.Getenv(name)); err == nil && os.Getenv(name) != "" {
			return fmt.Sprintf(
				" Hosts other than this one are reached by the proxy that %s names, %s, "+
					"unless NO_PROXY has them.", name, proxy.Redacted())
		}
	}
	return ""
}

// Message returns the sentence in an error, with the code if the service returned
// it.
func Message(err error) string {
	var e *connect.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	text := string(output.Escape([]byte(e.Message()))) // it may quote what a client has sent
	if connect.IsWireError(err) {
		return fmt.Sprintf("%s (%s)", text, e.Code())
	}
	return text
}
