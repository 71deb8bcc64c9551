package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// TestForeignAnswers checks that an answer that can't be Cirrus's is refused, rather
// than printed as a lease of node ID 0.
func TestForeignAnswers(t *testing.T) {
	const (
		instance = "0123456789abcdef"
		layout   = `"layout":{"originMs":"1288834974657","timestampBits":41,"nodeBits":10,"sequenceBits":12}`
	)
	for name, c := range map[string]struct{ body, want string }{
		"empty":                    {`{}`, "carries no lease"},
		"an empty lease":           {`{"lease":{}}`, "another instance"},
		"no echo":                  {`{"lease":{"epoch":"7",` + layout + `}}`, "another instance"},
		"another instance's lease": {`{"lease":{"epoch":"7","instanceId":"fedcba9876543210",` + layout + `}}`, "another instance"},
		"no epoch":                 {`{"lease":{"instanceId":"` + instance + `",` + layout + `}}`, "no epoch"},
		"no layout":                {`{"lease":{"epoch":"7","instanceId":"` + instance + `"}}`, "timestamp bits"},
		"a node ID too high":       {`{"lease":{"epoch":"7","nodeId":1024,"instanceId":"` + instance + `",` + layout + `}}`, "1024"},
	} {
		var answer cirrusv1.AcquireResponse // a HeartbeatResponse has the same bytes
		if err := protojson.Unmarshal([]byte(c.body), &answer); err != nil {
			t.Fatal(err)
		}
		body, err := proto.Marshal(&answer)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/proto")
			_, _ = w.Write(body)
		}))
		defer server.Close()
		for _, args := range []string{
			"acquire --app a --instance-id " + instance,
			"heartbeat --node-id 1 --epoch 7 --instance-id " + instance,
		} {
			var stdout, stderr strings.Builder
			args := append(strings.Fields(args), "--addr", server.URL)
			code := run(args, strings.NewReader(""), &stdout, &stderr)
			if said := stderr.String(); code != 1 || stdout.Len() > 0 ||
				!strings.Contains(said, "not Cirrus's") || !strings.Contains(said, c.want) {
				t.Errorf("%s, %q: exit code %d, want 1, and %q in %q; stdout %q",
					name, args, code, c.want, said, stdout.String())
			}
		}
	}
}
