package snowflake_test

import (
	"testing"

	bwmarrin "github.com/bwmarrin/snowflake"

	"github.com/cirrus-id/cirrus/snowflake"
)

// TestDecodesElsewhere checks that another library decodes IDs of the default
// layout as we do.
func TestDecodesElsewhere(t *testing.T) {
	// The origin is a global of that package; its bits are 10/12 by default.
	defer func(epoch int64) { bwmarrin.Epoch = epoch }(bwmarrin.Epoch)
	bwmarrin.Epoch = int64(snowflake.DefaultLayout.Origin)

	c := &testClock{}
	g := snowflake.NewGenerator(c, snowflake.Options{})
	grant := grantAt(c, snowflake.DefaultLayout, t0)
	grant.Node = 1023
	if _, err := g.Begin(grant); err != nil {
		t.Fatal(err)
	}
	ids := make([]snowflake.ID, 10_000) // more than two ms hold
	if _, err := g.NextN(ids); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		want, err := snowflake.DefaultLayout.Decompose(id)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := bwmarrin.ParseString(id.String())
		if err != nil {
			t.Fatal(err)
		}
		got := snowflake.Parts{
			Timestamp: snowflake.Millis(theirs.Time()),
			Node:      snowflake.NodeID(theirs.Node()),
			Sequence:  snowflake.Sequence(theirs.Step()),
		}
		if got != want || want.Node != 1023 {
			t.Fatalf("ID %s is %+v to us, %+v to them", id, want, got)
		}
	}
}
