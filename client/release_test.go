package client

import (
	"testing"

	"github.com/cirrus-id/cirrus/fencing"
)

// TestReleaseSaysWhatWasUsedLast checks that a Release leaves the last timestamp
// out if the generator did not mint: the quarantine of the node ID depends on it.
func TestReleaseSaysWhatWasUsedLast(t *testing.T) {
	call := fencing.Call{Kind: fencing.CallRelease, Pool: "p", Node: 3, Epoch: 9,
		Last: 1700000000000}
	for _, tc := range []struct {
		name string
		opts []Option
		want *int64
	}{
		{"minted by the generator", nil, new(int64(1700000000000))},
		{"minted elsewhere", []Option{WithoutLastTimestamp()}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, err := newConfig("http://127.0.0.1:1", "app", tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			got := caller{noLast: cfg.noLast}.releaseRequest(call).LastTimestampMs
			switch {
			case (got == nil) != (tc.want == nil):
				t.Errorf("last_timestamp_ms is %v, want %v", got, tc.want)
			case got != nil && *got != *tc.want:
				t.Errorf("last_timestamp_ms is %d, want %d", *got, *tc.want)
			}
		})
	}
}
