package service

import "sync"

// inFlight counts requests and writes that have started and not ended. The zero
// value counts none.
type inFlight struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // not nil while somebody waits
}

func (f *inFlight) start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
}

func (f *inFlight) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n--
	if f.n == 0 && f.none != nil {
		close(f.none)
		f.none = nil
	}
}

// drained returns a channel that is closed when none is in flight.
func (f *inFlight) drained() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.none == nil {
		f.none = make(chan struct{})
	}
	none := f.none
	if f.n == 0 {
		close(f.none)
		f.none = nil
	}
	return none
}
