package etcd_test

import (
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store/etcd"
)

// coroutines run in turns in one thread, as in a simulator.
type coroutines struct {
	next  []func() (struct{}, bool)
	give  []func(struct{}) bool
	turns int // whose turn it is
}

func (c *coroutines) begin(f func()) {
	i := len(c.next)
	c.give = append(c.give, nil)
	next, _ := iter.Pull(func(give func(struct{}) bool) {
		c.give[i] = give
		f()
	})
	c.next = append(c.next, next)
}

// step lets the other coroutines run.
func (c *coroutines) step() { c.give[c.turns](struct{}{}) }

// run runs all coroutines until they have ended.
func (c *coroutines) run() {
	for left := len(c.next); left > 0; {
		for i, next := range c.next {
			if next == nil {
				continue
			}
			c.turns = i
			if _, more := next(); !more {
				c.next[i] = nil
				left--
			}
		}
	}
}

// TestOneThread: replicas block only in the KV and in Options.Wait, so they can run as
// coroutines of one thread, and every run is the same.
func TestOneThread(t *testing.T) {
	course := func() (log []string) {
		const tasks, commits = 5, 4
		var c coroutines
		w := filled(t)
		r := w.replica(func(o *etcd.Options) {
			o.Wait = func(closed <-chan struct{}) {
				for {
					select {
					case <-closed:
						return
					default:
						c.step()
					}
				}
			}
		})
		term := r.term(t)
		r.onTxn = func(txn etcd.Txn) (bool, error) {
			c.step() // on its way
			log = append(log, fmt.Sprintf("%d writes", len(txn.Ops)))
			done, err := w.etcd.Txn(txn)
			c.step() // and back
			return done, err
		}
		for i := range tasks {
			c.begin(func() {
				for e := range fencing.Epoch(commits) {
					err := term.Commit(ctx, grants(i, 1, e+1))
					log = append(log, fmt.Sprintf("task %d, commit %d: %v", i, e, err))
				}
				if i == 0 {
					if err := r.Close(); err != nil { // waits for the others' commits
						t.Error(err)
					}
				}
			})
		}
		c.run()
		return log
	}
	first := course()
	if again := course(); !slices.Equal(first, again) {
		t.Errorf("two runs differ:\n%q\n%q", first, again)
	}
	if !slices.Contains(first, "5 writes") {
		t.Errorf("no two commits shared a transaction: %q", first)
	}
}
