package turns

import "time"

// Uint64 replaces atomic.Uint64.
type Uint64 struct {
	cell cell
	v    uint64
}

// Load takes a turn.
func (u *Uint64) Load() uint64 {
	turn("load", &u.cell, nil)
	return noted(u.v)
}

// Store takes a turn.
func (u *Uint64) Store(v uint64) {
	turn("store", &u.cell, nil)
	u.set(v)
}

// CompareAndSwap takes a turn.
func (u *Uint64) CompareAndSwap(old, v uint64) bool {
	turn("compare-and-swap", &u.cell, nil)
	if noted(u.v) != old {
		return false
	}
	u.set(v)
	return true
}

// Or takes a turn.
func (u *Uint64) Or(mask uint64) uint64 {
	turn("or", &u.cell, nil)
	old := noted(u.v)
	u.set(old | mask)
	return old
}

func (u *Uint64) set(v uint64) {
	u.v = v
	u.cell.value = v
}

// Pointer replaces atomic.Pointer.
type Pointer[T any] struct {
	cell cell
	v    *T
}

// Load takes a turn.
func (p *Pointer[T]) Load() *T {
	turn("load", &p.cell, nil)
	noted(p.cell.value)
	return p.v
}

// Store takes a turn. The search identifies the value by the turn that stored it,
// since addresses differ from run to run.
func (p *Pointer[T]) Store(v *T) {
	turn("store", &p.cell, nil)
	p.v, p.cell.value = v, current.name()
}

// Mutex replaces sync.Mutex.
type Mutex struct {
	cell cell
}

// Lock takes a turn, which cannot come while a thread holds the mutex.
func (m *Mutex) Lock() {
	turn("lock", &m.cell, func() bool { return m.cell.value == 0 })
	m.cell.value = 1
}

// Unlock takes a turn.
func (m *Mutex) Unlock() {
	turn("unlock", &m.cell, nil)
	m.cell.value = 0
}

// Clock is a clock that the threads of a case set.
type Clock struct {
	cell cell
}

// Now takes a turn.
func (c *Clock) Now() time.Duration {
	turn("read the clock", &c.cell, nil)
	return time.Duration(noted(c.cell.value))
}

// Sleep waits until the clock shows another time, which may never happen.
func (c *Clock) Sleep(time.Duration) {
	start := noted(c.cell.value)
	turn("wake", &c.cell, func() bool { return c.cell.value != start })
	noted(c.cell.value)
}

// Set takes a turn.
func (c *Clock) Set(to time.Duration) {
	turn("set the clock", &c.cell, nil)
	c.cell.value = uint64(to)
}

// Peek reads the clock without a turn.
func (c *Clock) Peek() time.Duration { return time.Duration(noted(c.cell.value)) }
