package gather

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestQueue wants the invariants to hold for any order of arrivals and ends.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q Queue[int]
		added, taken := 0, 0
		owed, inFlight := false, false
		take := func(t *rapid.T) {
			if !owed {
				return
			}
			most := rapid.IntRange(1, 5).Draw(t, "most")
			batch := q.Take(func(waiting []int) int { return min(len(waiting), most) })
			if len(batch) == 0 {
				t.Fatalf("a batch is empty, and %d items wait", q.Len())
			}
			for _, item := range batch {
				if item != taken {
					t.Fatalf("item %d was taken, want %d: each once, in order", item, taken)
				}
				taken++
			}
			owed, inFlight = false, true
		}
		done := func(*rapid.T) {
			if !inFlight {
				return
			}
			next, more := q.Done()
			if more != (added > taken) || more && next != taken {
				t.Fatalf("Done returned %d, %v while %d of %d items wait", next, more, added-taken,
					added)
			}
			owed, inFlight = more, false
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				first := q.Add(added)
				added++
				if first == (owed || inFlight) {
					t.Fatalf("Add returned %v; a Take is owed: %v, a batch is in flight: %v", first,
						owed, inFlight)
				}
				owed = owed || first
			},
			"take": take,
			"done": done,
			"": func(t *rapid.T) {
				if q.Len() != added-taken || q.Busy() != (owed || inFlight) {
					t.Fatalf("%d items wait, want %d; busy: %v, want %v", q.Len(), added-taken,
						q.Busy(), owed || inFlight)
				}
				if q.Len() > 0 && !q.Busy() {
					t.Fatal("items wait, and nobody owes a Take")
				}
			},
		})
		for owed || inFlight {
			take(t)
			done(t)
		}
		if taken != added || q.Busy() {
			t.Errorf("at rest %d of %d items were taken, and the queue is busy: %v", taken, added,
				q.Busy())
		}
	})
}

// TestOneInFlight wants that many goroutines never have two batches in flight, that
// each item is sent once, and that none is left behind.
func TestOneInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type item struct {
			n    int
			sent chan struct{}
		}
		var q Queue[item]
		var mu sync.Mutex
		flying := 0
		var sent []int
		run := func() {
			for more := true; more; _, more = q.Done() {
				batch := q.Take(All)
				mu.Lock()
				if flying++; flying != 1 {
					t.Errorf("%d batches are in flight, want 1", flying)
				}
				mu.Unlock()
				time.Sleep(time.Millisecond) // others arrive meanwhile
				mu.Lock()
				flying--
				for _, it := range batch {
					sent = append(sent, it.n)
					close(it.sent)
				}
				mu.Unlock()
			}
		}
		const items = 100
		var wg sync.WaitGroup
		for n := range items {
			wg.Go(func() {
				time.Sleep(time.Duration(n) * 100 * time.Microsecond)
				it := item{n, make(chan struct{})}
				if q.Add(it) {
					run()
				}
				<-it.sent
			})
		}
		wg.Wait()
		slices.Sort(sent)
		if len(slices.Compact(slices.Clone(sent))) != items || len(sent) != items {
			t.Errorf("%d items were sent, want each of %d once: %v", len(sent), items, sent)
		}
		if q.Busy() {
			t.Error("the queue is busy after all items were sent")
		}
	})
}
