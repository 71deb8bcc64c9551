package snowflake_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/snowflake"
)

func TestLayoutValidate(t *testing.T) {
	for _, tc := range []struct {
		layout snowflake.Layout
		want   string // quoted by the error; "" for none
	}{
		{snowflake.DefaultLayout, ""},
		{snowflake.Layout{TimestampBits: 32, NodeBits: 1, SequenceBits: 1}, ""},
		{snowflake.Layout{TimestampBits: 45, NodeBits: 9, SequenceBits: 9}, ""},
		{snowflake.Layout{TimestampBits: 32, NodeBits: 22, SequenceBits: 9}, ""},
		{snowflake.Layout{TimestampBits: 32, NodeBits: 9, SequenceBits: 22}, ""},
		{snowflake.Layout{Origin: 253402300799999, TimestampBits: 41, NodeBits: 10, SequenceBits: 12}, ""},
		{snowflake.Layout{}, "0 timestamp bits"},
		{snowflake.Layout{Origin: -1, TimestampBits: 41, NodeBits: 10, SequenceBits: 12}, "-1"},
		{snowflake.Layout{Origin: 253402300800000, TimestampBits: 41, NodeBits: 10, SequenceBits: 12}, "253402300800000"},
		{snowflake.Layout{TimestampBits: 31, NodeBits: 10, SequenceBits: 12}, "31 timestamp bits"},
		{snowflake.Layout{TimestampBits: 46, NodeBits: 1, SequenceBits: 1}, "46 timestamp bits"},
		{snowflake.Layout{TimestampBits: 41, NodeBits: 0, SequenceBits: 12}, "0 node bits"},
		{snowflake.Layout{TimestampBits: 32, NodeBits: 23, SequenceBits: 1}, "23 node bits"},
		{snowflake.Layout{TimestampBits: 41, NodeBits: 10, SequenceBits: 0}, "0 sequence bits"},
		{snowflake.Layout{TimestampBits: 32, NodeBits: 1, SequenceBits: 23}, "23 sequence bits"},
		{snowflake.Layout{TimestampBits: 42, NodeBits: 10, SequenceBits: 12}, "64 bits"},
	} {
		err := tc.layout.Validate()
		if tc.want == "" && err != nil {
			t.Errorf("%+v: %v", tc.layout, err)
		}
		if tc.want != "" {
			wantError(t, err, tc.want)
		}
	}
}

func TestParseLayout(t *testing.T) {
	if l, err := snowflake.ParseLayout("41/10/12"); err != nil || l != snowflake.DefaultLayout {
		t.Errorf("ParseLayout = %+v, %v; want the default", l, err)
	}
	for in, want := range map[string]string{
		"":            `""`,
		"41/10":       `"41/10"`,
		"41/10/12/0":  `"41/10/12/0"`,
		"41/x/12":     `"x"`,
		"41/-1/12":    `"-1"`,
		"41/+1/12":    `"+1"`,
		"41/10/256":   `"256"`,
		"41/ 10/12":   `" 10"`,
		"41/10/13":    "64 bits",
		"0/10/12":     "0 timestamp bits",
		"41\n/10/12 ": `"41\n"`,
	} {
		_, err := snowflake.ParseLayout(in)
		wantError(t, err, want)
	}
}

func TestComposeRefuses(t *testing.T) {
	l := snowflake.DefaultLayout
	for _, tc := range []struct {
		parts snowflake.Parts
		want  string
	}{
		{snowflake.Parts{Timestamp: l.Origin - 1}, "1288834974656"},
		{snowflake.Parts{Timestamp: l.LastTimestamp() + 1}, "3487858230209"},
		{snowflake.Parts{Timestamp: l.Origin, Node: 1024}, "1024"},
		{snowflake.Parts{Timestamp: l.Origin, Sequence: 4096}, "4096"},
	} {
		_, err := l.Compose(tc.parts)
		wantError(t, err, tc.want)
	}
	for _, id := range []snowflake.ID{-1, math.MinInt64, 1 << 44} {
		_, err := snowflake.Layout{TimestampBits: 32, NodeBits: 6, SequenceBits: 6}.Decompose(id)
		wantError(t, err, id.String())
	}
}

// layouts draws any valid layout.
var layouts = rapid.Custom(func(t *rapid.T) snowflake.Layout {
	l := snowflake.Layout{
		Origin:        snowflake.Millis(rapid.Int64Range(0, 253402300799999).Draw(t, "origin")),
		TimestampBits: uint8(rapid.IntRange(32, 45).Draw(t, "timestamp bits")),
	}
	l.NodeBits = uint8(rapid.IntRange(1, min(22, 62-int(l.TimestampBits))).Draw(t, "node bits"))
	l.SequenceBits = uint8(rapid.IntRange(1,
		min(22, 63-int(l.TimestampBits)-int(l.NodeBits))).Draw(t, "sequence bits"))
	return l
})

// TestComposeDecompose checks that Decompose returns what Compose got, and that IDs
// sort by timestamp, then node ID, then sequence.
func TestComposeDecompose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := layouts.Draw(t, "layout")
		if err := l.Validate(); err != nil {
			t.Fatal(err)
		}
		if again, err := snowflake.ParseLayout(l.String()); err != nil ||
			again.String() != l.String() {
			t.Fatalf("%s was read as %s, %v", l, again, err)
		}
		parts := rapid.Custom(func(t *rapid.T) snowflake.Parts {
			return snowflake.Parts{
				Timestamp: snowflake.Millis(rapid.Int64Range(int64(l.Origin),
					int64(l.LastTimestamp())).Draw(t, "timestamp")),
				Node: snowflake.NodeID(rapid.Uint32Range(0, uint32(l.MaxNode())).Draw(t,
					"node")),
				Sequence: snowflake.Sequence(rapid.Uint32Range(0, uint32(l.MaxSequence())).Draw(t,
					"sequence")),
			}
		})
		a, b := parts.Draw(t, "a"), parts.Draw(t, "b")
		idA, errA := l.Compose(a)
		idB, errB := l.Compose(b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if got, err := l.Decompose(idA); err != nil || got != a {
			t.Fatalf("%+v came back as %+v, %v", a, got, err)
		}
		less := a.Timestamp < b.Timestamp || a.Timestamp == b.Timestamp &&
			(a.Node < b.Node || a.Node == b.Node && a.Sequence < b.Sequence)
		if less != (idA < idB) || (a == b) != (idA == idB) {
			t.Fatalf("%+v is ID %d, %+v is ID %d: out of order", a, idA, b, idB)
		}
	})
}

func TestMillis(t *testing.T) {
	if got := snowflake.Millis(5).Add(1999 * time.Microsecond); got != 6 {
		t.Errorf("5 + 1.999 ms = %d, want 6", got)
	}
	if got := snowflake.DefaultLayout.Origin.Time().Format(
		time.RFC3339Nano); got != "2010-11-04T01:42:54.657Z" {
		t.Errorf("the origin is %s", got)
	}
	const most = math.MaxInt64 / 1_000_000
	for _, tc := range []struct {
		m, o snowflake.Millis
		want time.Duration
	}{
		{7, 5, 2 * ms}, {5, 7, -2 * ms},
		{most, 0, most * ms}, {0, most, -most * ms},
		{most + 1, 0, math.MaxInt64}, {0, most + 1, math.MinInt64},
		{math.MaxInt64, math.MinInt64, math.MaxInt64}, {math.MinInt64, math.MaxInt64, math.MinInt64},
		{math.MinInt64, 1, math.MinInt64}, {math.MaxInt64, -1, math.MaxInt64},
	} {
		if got := tc.m.Sub(tc.o); got != tc.want {
			t.Errorf("%d − %d = %s, want %s", tc.m, tc.o, got, tc.want)
		}
	}
}
