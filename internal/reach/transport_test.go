package reach

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// No redirect is followed, so the body, with its secrets, goes to no other server.
func TestNoRedirectIsFollowed(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the request was sent to the redirect's target")
	}))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		here := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
		resp, err := NewClient(NewTransport(nil, false)).Post(here.URL, "application/proto",
			strings.NewReader("secret"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		here.Close()
		if resp.StatusCode != status {
			t.Errorf("status %d, want the server's own %d", resp.StatusCode, status)
		}
	}
}
