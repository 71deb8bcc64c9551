package explore

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"testing"
)

var (
	further = flag.Int("further", 0, "raise the horizon of each scope by this many units")
	states  = flag.Int("states", 0, "end each search after this many states (0: no bound)")
)

// TestScopes searches each scope to exhaustion.
func TestScopes(t *testing.T) {
	for _, scope := range Scopes() {
		scope.Horizon += Units(*further)
		scope.MaxStates = *states
		t.Run(scope.Name, func(t *testing.T) {
			t.Parallel()
			r, err := Run(t.Context(), scope)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(r)
			if r.Violation != nil || !r.Exhausted && *states == 0 {
				t.Fail()
			}
		})
	}
}

// tight returns one of the smallest scopes.
func tight() Scope {
	return Scope{
		Name: "tight", Nodes: 1, Holders: 2, Instances: 2, Apps: 1,
		TTL: 1, Quarantine: 1, Stride: 2, Horizon: 2,
		Walls: []Units{4}, WallSets: 1, Drift: 1, Requests: 1, Replies: 1, Troubled: 1,
	}
}

// TestItNotices lets clocks drift by more than the quarantine. That breaks P1, and
// the transcript must say how.
func TestItNotices(t *testing.T) {
	scope := tight()
	scope.Quarantine = 0
	if _, err := Run(t.Context(), scope); err == nil {
		t.Error("Run accepted a scope in which P1 is not promised, want an error")
	}
	r, err := explore(t.Context(), scope)
	if err != nil || r.Violation == nil || r.Violation.Promise != Exclusion {
		t.Fatalf("got %v, %v; want P1 broken", r, err)
	}
	got := strings.Join(r.Violation.Trace, "\n")
	for _, want := range []string{
		"time passes, but not for A's steady clock",
		"A gets the answer to its acquire as i1 (sent at 0s): good, ceiling 10s; it starts to mint: node ID 0 under epoch e1, 0s to 10s, until 10s by its clock",
		"it starts to mint: node ID 0 under epoch e2, 50s to 60s, until 20s by its clock",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the transcript lacks %q:\n%s", want, got)
		}
	}
	scope.Lies = true
	if r, err := Run(t.Context(), scope); err != nil || r.Violation != nil {
		t.Errorf("got %v, %v; want P2 and P3 kept although the clocks drift too far", r, err)
	}
}

// TestSame runs a search twice: the results must be the same.
func TestSame(t *testing.T) {
	a, _ := Run(t.Context(), tight())
	b, _ := Run(t.Context(), tight())
	if a.States != b.States || a.Steps != b.Steps || a.Depth != b.Depth || a.States < 1000 {
		t.Errorf("got %v and then %v, want the same twice, with at least 1000 states", a, b)
	}
}

// TestBounded ends a search early. Its report must say so.
func TestBounded(t *testing.T) {
	scope := tight()
	scope.MaxDepth = 5
	if r, err := Run(t.Context(), scope); err != nil || r.Exhausted || r.Depth != 5 {
		t.Errorf("got %v, %v; want it bounded at depth 5", r, err)
	}
}

// TestValidate expects each scope to be refused, with the field's name.
func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Scope)
		wants  string
	}{
		{func(s *Scope) { s.Nodes = 4 }, "Nodes 4"},
		{func(s *Scope) { s.Instances = 1 }, "Instances 1"},
		{func(s *Scope) { s.Stride = 0 }, "Stride 0"},
		{func(s *Scope) { s.ServerDrift = 1 }, "drift apart by 2 units"},
	} {
		s := tight()
		c.change(&s)
		if _, err := Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), c.wants) {
			t.Errorf("got %v, want an error with %q", err, c.wants)
		}
	}
}

// TestInterrupted cancels a search. Its report must say so.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := Run(ctx, tight())
	if err != nil || !r.Interrupted || r.Exhausted || !strings.Contains(r.String(), "interrupted") {
		t.Errorf("got %v, %v; want it interrupted", r, err)
	}
}

func ExampleRun() {
	r, err := Run(context.Background(), Scope{
		Name: "one node ID, two holders", Nodes: 1, Holders: 2, Instances: 2, Apps: 1,
		TTL: 1, Quarantine: 1, Stride: 2, Horizon: 2,
		Crashes: 1, Requests: 1, Replies: 1,
	})
	fmt.Println(err, r.Exhausted, r.Violation)
	// Output: <nil> true <nil>
}
