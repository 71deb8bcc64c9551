package service

import "sync"

// underway counts what is under way. The zero value counts nothing.
type underway struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // there while somebody waits
}

func (u *underway) begin() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n++
}

func (u *underway) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n--
	if u.n == 0 && u.none != nil {
		close(u.none)
		u.none = nil
	}
}

// over is closed when nothing is under way.
func (u *underway) over() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.none == nil {
		u.none = make(chan struct{})
	}
	none := u.none
	if u.n == 0 {
		close(u.none)
		u.none = nil
	}
	return none
}
