package oracle

import (
	"slices"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/sim/event"
)

// TestOutside: of two grants of a node ID the oracle finds what is wrong, and in a
// good pair nothing.
func TestOutside(t *testing.T) {
	grant := func(epoch uint64, at time.Duration) event.Grant {
		return event.Grant{
			Key: event.Key{Pool: "default", Node: 7}, Epoch: epoch, Floor: at.Milliseconds(),
			Ceiling: (at + ttl).Milliseconds(), Asked: at, Answered: at, Deadline: at + ttl,
			Live: []event.Span{{From: at,
				To: at + ttl}}, ReleaseSent: event.Never, RevokeSent: event.Never,
			Lost: event.Never,
		}
	}
	const rested = ttl + quarantine
	for _, test := range []struct {
		name  string
		spoil func(a, b *event.Grant)
		want  []Promise
	}{
		{"nothing", func(_, _ *event.Grant) {}, nil},
		{"released", func(a, b *event.Grant) {
			last := time.Second.Milliseconds()
			a.ReleaseSent, a.Last, a.Live[0].To = time.Second, &last, time.Second
			*b = grant(6, 2*time.Second)
		}, nil},
		{"lost after its quarantine", func(a, _ *event.Grant) { a.Lost = rested }, nil},
		{"lost before", func(a, _ *event.Grant) { a.Lost = rested - 1 },
			[]Promise{PromiseHeartbeat}},
		{"one epoch", func(_, b *event.Grant) { b.Epoch = 5 }, []Promise{PromiseEpochs}},
		{"epochs fall", func(a, b *event.Grant) { a.Node, b.Epoch = 8, 4 },
			[]Promise{PromiseEpochs}},
		{"windows touch", func(a, b *event.Grant) { b.Floor = a.Ceiling },
			[]Promise{PromiseWindow}},
		{"two live", func(a, _ *event.Grant) { a.Live[0].To = rested + 1 },
			[]Promise{PromiseExclusion}},
		{"granted too early", func(_, b *event.Grant) { b.Answered = rested - 1 },
			[]Promise{PromiseQuarantine}},
	} {
		a, b := grant(5, 0), grant(6, rested)
		test.spoil(&a, &b)
		var got []Promise
		o := Outside{Quarantine: quarantine, Violated: func(p Promise, _ string) {
			got = append(got,
				p)
		}}
		o.Judge([]event.Grant{a, b})
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: the oracle finds %q, want %q", test.name, got, test.want)
		}
	}
}
