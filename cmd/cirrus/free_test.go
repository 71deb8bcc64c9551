package main

import (
	"strings"
	"testing"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// Only the node ID confirms that a lease is to be freed, and the question says
// what rests on the answer.
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
		req := &cirrusv1.FreeRequest{Pool: "billing", NodeId: 7, Epoch: 42, LastTimestampMs: tc.last}
		if err := whetherDead(req).Ask(t.Context(), strings.NewReader(tc.typed), &said); (err == nil) != tc.ok {
			t.Errorf("%q typed: %v, want it to confirm: %v", tc.typed, err, tc.ok)
		}
		for _, want := range []string{"node ID 7", "billing", "epoch 42", "two live holders"} {
			if !strings.Contains(said.String(), want) {
				t.Errorf("the question %q lacks %q", said.String(), want)
			}
		}
		if got := strings.Contains(said.String(), "minted twice"); got != (tc.last != nil) {
			t.Errorf("the question %q speaks of IDs minted twice: %v", said.String(), got)
		}
	}
}
