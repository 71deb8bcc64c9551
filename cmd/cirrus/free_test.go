package main

import (
	"strings"
	"testing"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// TestFreeIsConfirmed checks that only the node ID confirms that a lease is to be
// freed, and that the question names the risks.
func TestFreeIsConfirmed(t *testing.T) {
	last := int64(1)
	for _, tc := range []struct {
		typed string
		last  *int64
		ok    bool
	}{
		{"7\n", nil, true},
		{" 7 \n", &last, true},
		{"7", nil, true},
		{"", nil, false},
		{"\n", nil, false},
		{"yes\n", nil, false},
		{"77\n", &last, false},
	} {
		var said strings.Builder
		req := &cirrusv1.FreeRequest{Pool: "billing", NodeId: 7, Epoch: 42,
			LastTimestampMs: tc.last}
		if err := whetherDead(req).Ask(t.Context(), strings.NewReader(tc.typed),
			&said); (err == nil) != tc.ok {
			t.Errorf("%q typed: error %v, want it confirmed: %v", tc.typed, err, tc.ok)
		}
		for _, want := range []string{"node ID 7", "billing", "epoch 42", "two live holders"} {
			if !strings.Contains(said.String(), want) {
				t.Errorf("the question %q lacks %q", said.String(), want)
			}
		}
		if got := strings.Contains(said.String(), "minted twice"); got != (tc.last != nil) {
			t.Errorf("the question %q names IDs minted twice: %v, want the opposite", said.String(),
				got)
		}
	}
}
