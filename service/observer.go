package service

import (
	"sync"

	"github.com/cirrus-id/cirrus/fencing"
)

// Observer is told what no answer shows, for simulators and tests that check the
// service's own invariants. Its functions are called while the service holds
// locks: they must return at once and must not call the service. A nil function is
// not called.
type Observer struct {
	// Term is called with a term when it starts to answer requests, and with nil
	// when this replica no longer answers by one. The only term of a Config.Store
	// is never replaced: a failed write ends the service.
	Term func(*ObservedTerm)
	// LostWrites is called with the number of lost writes that the service has
	// counted since it was made (S12), each time that number rises.
	LostWrites func(total int)
}

// ObservedTerm shows an Observer the state of a term.
type ObservedTerm struct {
	rules *fencing.Server
	mu    *sync.Mutex
}

// Rules returns the term's rules. They may be read only while no goroutine of the
// service runs, as between two steps of a simulator, and must not be changed.
func (o *ObservedTerm) Rules() *fencing.Server { return o.rules }

// Locked reports whether a goroutine holds the lock that every heartbeat needs:
// nothing that may block, such as a line of the log, may be done under it (S14).
func (o *ObservedTerm) Locked() bool {
	if !o.mu.TryLock() {
		return true
	}
	o.mu.Unlock()
	return false
}
