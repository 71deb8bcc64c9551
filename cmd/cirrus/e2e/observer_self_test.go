//go:build linux

package e2e

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/internal/history"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// ms is an instant.
func ms(n int64) instant { return instant(time.Duration(n) * time.Millisecond) }

// wire is a lease of node ID 7 with a TTL of 1 s, as a reply carries it.
func wire(epoch uint64, instance string, floor, server int64) *cirrusv1.Lease {
	return &cirrusv1.Lease{
		Pool: "default", NodeId: 7, Epoch: epoch, AppId: "app", InstanceId: instance,
		Ttl:     durationpb.New(time.Second),
		FloorMs: floor, ServerTimeMs: server, CeilingMs: server + 1000,
	}
}

// TestObserver tells the observer histories that should not be: it must find
// what is wrong with each, and nothing wrong with the good ones. Quarantine is
// 300 ms; instants are server time less 100,000.
func TestObserver(t *testing.T) {
	first := func(o *observer) *grant {
		return o.granted(ms(10), ms(10), ms(20), wire(5, "a", 100_015, 100_015))
	}
	row := func(epoch uint64, floor, ceiling int64,
		state cirrusv1.LeaseState) map[uint32]*cirrusv1.LeaseStatus {
		return map[uint32]*cirrusv1.LeaseStatus{7: {NodeId: 7, Epoch: epoch,
			AppId: "app", FloorMs: floor, CeilingMs: ceiling, State: state}}
	}
	const held, free = cirrusv1.LeaseState_LEASE_STATE_HELD, cirrusv1.LeaseState_LEASE_STATE_FREE
	last := int64(100_050)
	for _, tt := range []struct {
		name, want string
		history    func(o *observer)
	}{
		{"expired and granted again", "", func(o *observer) {
			first(o)
			o.granted(ms(1000), ms(1300), ms(1330), wire(6, "b", 101_325, 101_325))
		}},
		{"released and granted again", "", func(o *observer) {
			g := first(o)
			o.releasing(g, ms(60), &last)
			o.wasReleased(g, ms(70))
			o.granted(ms(80), ms(80), ms(90), wire(6, "b", 100_085, 100_085))
			o.audit(o.expect("default"), ms(100), row(6, 100_085, 101_085, held))
		}},
		{"lost after deadline and quarantine", "", func(o *observer) { o.wasLost(first(o), ms(1305), ms(1310)) }},
		{"lost after a revoke", "", func(o *observer) {
			g := first(o)
			o.revoking(g, ms(30))
			o.wasLost(g, ms(31), ms(35))
		}},
		{"kept once more by a server that has been deposed", "", func(o *observer) {
			o.stale = 200 * time.Millisecond
			g := first(o)
			o.releasing(g, ms(60), &last)
			o.called(g, history.Release, ms(60), ms(70), history.Output{Good: true})
			o.wasReleased(g, ms(70))
			o.heartbeaten(g, ms(260), ms(275), wire(5, "a", 100_015, 100_272))
			o.granted(ms(80), ms(80), ms(90), wire(6, "b", 100_085, 100_085))
		}},
		{"listed as held", "", func(o *observer) {
			first(o)
			o.audit(o.expect("default"), ms(500), row(5, 100_015, 101_015, held))
		}},

		{"lost too soon", "LEASE_LOST", func(o *observer) { o.wasLost(first(o), ms(1304), ms(1309)) }},
		{"kept after a loss", "told lost", func(o *observer) {
			g := first(o)
			o.wasLost(g, ms(1395), ms(1400))
			o.heartbeaten(g, ms(1401), ms(1402), wire(5, "a", 100_015, 101_402))
		}},
		{"kept after a release", "was released", func(o *observer) {
			g := first(o)
			o.releasing(g, ms(60), &last)
			o.wasReleased(g, ms(70))
			o.heartbeaten(g, ms(71), ms(72), wire(5, "a", 100_015, 100_072))
		}},
		{"kept by a server that was deposed more than a stride ago", "was released", func(o *observer) {
			o.stale = 200 * time.Millisecond
			g := first(o)
			o.releasing(g, ms(60), &last)
			o.wasReleased(g, ms(70))
			o.heartbeaten(g, ms(271), ms(275), wire(5, "a", 100_015, 100_272))
		}},
		{"kept after another had the node ID", "one after the other", func(o *observer) {
			g := first(o)
			next := o.granted(ms(1300), ms(1300), ms(1330), wire(6, "b", 101_325, 101_325))
			o.releasing(next, ms(1340), nil)
			o.called(next, history.Release, ms(1340), ms(1350), history.Output{Good: true})
			o.wasReleased(next, ms(1350))
			o.heartbeaten(g, ms(1360), ms(1370), wire(5, "a", 100_015, 101_370))
		}},
		{"kept after a revoke", "was revoked", func(o *observer) {
			g := first(o)
			o.revoking(g, ms(60))
			o.wasRevoked(g, ms(70))
			o.heartbeaten(g, ms(71), ms(72), wire(5, "a", 100_015, 100_072))
		}},
		{"another epoch for the same lease", "differently", func(o *observer) {
			g := first(o)
			o.heartbeaten(g, ms(71), ms(72), wire(6, "a", 100_015, 100_072))
		}},
		{"server time outside of the window", "outside of the window", func(o *observer) {
			o.granted(ms(10), ms(10), ms(20), wire(5, "a", 100_015, 99_994))
		}},
		{"server time goes back", "went back", func(o *observer) {
			g := first(o)
			o.heartbeaten(g, ms(300), ms(310), wire(5, "a", 100_015, 100_305))
			o.heartbeaten(g, ms(311), ms(312), wire(5, "a", 100_015, 100_284))
		}},
		{"epoch twice", "one epoch for two", func(o *observer) {
			first(o)
			o.granted(ms(1000), ms(1300), ms(1330), wire(5, "b", 101_325, 101_325))
		}},
		{"epoch falls", "a higher epoch", func(o *observer) {
			first(o)
			o.granted(ms(1000), ms(1300), ms(1330), wire(4, "b", 101_325, 101_325))
		}},
		{"windows touch", "not above", func(o *observer) {
			first(o)
			o.granted(ms(1000), ms(1300), ms(1330), wire(6, "b", 101_015, 101_325))
		}},
		{"window of a release touches", "not above", func(o *observer) {
			g := first(o)
			o.releasing(g, ms(60), &last)
			o.granted(ms(80), ms(80), ms(90), wire(6, "b", 100_050, 100_085))
		}},
		{"two live", "two are live", func(o *observer) {
			first(o)
			o.granted(ms(800), ms(800), ms(900), wire(6, "b", 101_325, 101_325))
		}},
		{"granted in the quarantine", "within deadline and quarantine", func(o *observer) {
			first(o)
			o.granted(ms(1000), ms(1300), ms(1309), wire(6, "b", 101_325, 101_325))
		}},
		{"granted in the quarantine of a late heartbeat", "within deadline and quarantine", func(o *observer) {
			g := first(o)
			o.heartbeaten(g, ms(1200), ms(1201), wire(5, "a", 100_015, 101_201))
			o.granted(ms(1000), ms(1300), ms(2400), wire(6, "b", 102_325, 102_325))
		}},
		{"grant gone", "is gone", func(o *observer) {
			first(o)
			o.audit(o.expect("default"), ms(500), nil)
		}},
		{"grant replaced by an older one", "is gone", func(o *observer) {
			first(o)
			o.audit(o.expect("default"), ms(500), row(4, 100_015, 101_015, held))
		}},
		{"not held any more", "held, but", func(o *observer) {
			first(o)
			o.audit(o.expect("default"), ms(500), row(5, 100_015, 101_015, free))
		}},
		{"promise forgotten", "was promised", func(o *observer) {
			first(o)
			o.audit(o.expect("default"), ms(500), row(5, 100_015, 101_014, held))
		}},
		{"release forgotten", "shows it held", func(o *observer) {
			g := first(o)
			o.releasing(g, ms(60), &last)
			o.wasReleased(g, ms(70))
			o.audit(o.expect("default"), ms(500), row(5, 100_015, 101_015, held))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newObserver(300 * time.Millisecond)
			tt.history(o)
			got := strings.Join(o.verdict(), "\n")
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("the observer says %q, want it to speak of %q", got, tt.want)
			}
		})
	}
	if twice := duplicates([]uint64{3, 1, 2, 3, 1, 1}); len(twice) != 2 {
		t.Errorf("duplicates: %v, want 1 and 3", twice)
	}
}
