package turns

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"slices"
)

// Case is one thing to look at: a few threads, and what must be true after them.
type Case struct {
	Name string
	// Start makes everything anew, and returns the threads and the check. It
	// must do the same each time, and threads must share nothing that is not
	// of this package's types but what Note tells of.
	Start func() (threads []func(), check func() error)
}

// Report is what a search found.
type Report struct {
	Name string
	// Orders is how many orders of all turns there are, States how many
	// different states they go through, Runs how often the threads ran.
	// Orders that lead to one state are looked at once from there on.
	Orders       *big.Int
	States, Runs int
	// Turns is how many the longest order has.
	Turns int
	// Complete: every order was looked at.
	Complete bool
	// Broken is what the check said, and Trace the order before it.
	Broken error
	Trace  []string
}

// cell is what a search must know of a value that threads share.
type cell struct {
	owner *run
	name  uint64 // who touched it first, and when; 0: nobody
	value uint64
}

// run is one run of the threads.
type run struct {
	threads []*thread
	cells   []*cell
	trace   []string
	tracing bool
}

// thread is a coroutine.
type thread struct {
	id    int
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	// what and cell are of the turn that it waits for, ready says whether it
	// may come.
	what  string
	cell  *cell
	ready func() bool
	turns int
	done  bool
	// seen is all that it ever learned from the others.
	seen []byte
}

// current is the thread whose turn it is; setup while none runs.
var (
	setup   = &thread{}
	current = setup
	present *run
)

var errGone = errors.New("turns: this run is over")

// name names the present turn of a thread, the same way in each run.
func (t *thread) name() uint64 { return uint64(t.id+1)<<32 | uint64(t.turns+1) }

// turn waits for the running thread's next turn.
func turn(what string, c *cell, ready func() bool) {
	t := current
	if t != setup {
		t.what, t.cell, t.ready = what, c, ready
		if !t.yield(struct{}{}) {
			panic(errGone)
		}
	}
	t.turns++
	if c != nil && c.owner != present && present != nil {
		c.owner, c.name = present, t.name()
		present.cells = append(present.cells, c)
	}
}

// noted keeps what the running thread has learned.
func noted(v uint64) uint64 {
	current.seen = binary.AppendUvarint(current.seen, v)
	return v
}

// Note is for what a thread learns in other ways, or wants to be known by.
func Note(v uint64) { noted(v) }

// Begin is a turn in which nothing happens.
func Begin(what string) { turn(what, nil, nil) }

// Thread is the running thread's number, from 0; −1 while none runs.
func Thread() int { return current.id }

// begin starts the threads of a case, up to the first turn of each.
func begin(c Case, tracing bool) (*run, func() error) {
	r := &run{tracing: tracing}
	present = r
	setup.turns, setup.seen, setup.id = 0, nil, -1
	bodies, check := c.Start()
	for i, body := range bodies {
		t := &thread{id: i}
		t.next, t.stop = iter.Pull(func(yield func(struct{}) bool) {
			t.yield = yield
			defer func() {
				t.done = true
				p := recover()
				if err, ok := p.(error); p != nil && (!ok || !errors.Is(err, errGone)) {
					panic(p)
				}
			}()
			body()
		})
		r.threads = append(r.threads, t)
		r.resume(t)
	}
	return r, check
}

func (r *run) resume(t *thread) {
	current = t
	t.next()
	current = setup
}

// give lets a thread take its turn.
func (r *run) give(i int) {
	t := r.threads[i]
	what, seen := t.what, len(t.seen)
	r.resume(t)
	if r.tracing {
		r.trace = append(r.trace, fmt.Sprintf("%3d  thread %d: %s → %v%s", len(r.trace)+1, i, what, learned(t.seen[seen:]), ending(t)))
	}
}

func learned(b []byte) []uint64 {
	var all []uint64
	for len(b) > 0 {
		v, n := binary.Uvarint(b)
		all, b = append(all, v), b[n:]
	}
	return all
}

func ending(t *thread) string {
	if t.done {
		return ", and is done"
	}
	return ""
}

// ready are the threads that may take a turn.
func (r *run) ready(list []int) []int {
	for i, t := range r.threads {
		if !t.done && (t.ready == nil || t.ready()) {
			list = append(list, i)
		}
	}
	return list
}

func (r *run) end() {
	for _, t := range r.threads {
		t.stop()
	}
	present = nil
}

// key tells the state from all others: what each thread knows, and what they
// share. A thread is determined by what it has learned.
func (r *run) key(b []byte) ([16]byte, []byte) {
	b = b[:0]
	for _, t := range r.threads {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(t.turns)), uint64(len(t.seen)))
		b = append(b, t.seen...)
	}
	slices.SortFunc(r.cells, func(x, y *cell) int {
		switch {
		case x.name < y.name:
			return -1
		case x.name > y.name:
			return 1
		}
		return 0
	})
	for _, c := range r.cells {
		b = binary.AppendUvarint(binary.AppendUvarint(b, c.name), c.value)
	}
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16]), b
}

// fork is a state on the way of the present run, with what is left to try.
type fork struct {
	key    [16]byte
	ready  []int
	next   int // of ready
	orders *big.Int
}

// Search looks at every order of a case's turns, or at so many runs at most;
// 0: without a limit.
func Search(c Case, most int) Report {
	rep := Report{Name: c.Name, Orders: new(big.Int)}
	known := map[[16]byte]*big.Int{}
	var way []*fork
	var buf []byte
	for most == 0 || rep.Runs < most {
		rep.Runs++
		r, check := begin(c, false)
		for _, f := range way {
			r.give(f.ready[f.next])
		}
		orders := big.NewInt(1)
		for {
			var key [16]byte
			key, buf = r.key(buf)
			if n, ok := known[key]; ok {
				orders = n
				break
			}
			ready := r.ready(nil)
			if len(ready) == 0 {
				rep.Turns = max(rep.Turns, len(way))
				rep.Broken = check()
				known[key] = orders
				break
			}
			way = append(way, &fork{key: key, ready: ready, orders: new(big.Int)})
			r.give(ready[0])
		}
		r.end()
		if rep.Broken != nil {
			rep.Trace = retrace(c, way)
			rep.States = len(known) + len(way)
			return rep
		}
		if way = back(way, orders, known); len(way) == 0 {
			rep.Complete = true
			if first, ok := known[start(c)]; ok {
				rep.Orders = first
			}
			break
		}
	}
	rep.States = len(known) + len(way)
	return rep
}

// back goes back to the last fork that has something left to try.
func back(way []*fork, orders *big.Int, known map[[16]byte]*big.Int) []*fork {
	for len(way) > 0 {
		f := way[len(way)-1]
		f.orders.Add(f.orders, orders)
		if f.next++; f.next < len(f.ready) {
			return way
		}
		known[f.key], orders = f.orders, f.orders
		way = way[:len(way)-1]
	}
	return nil
}

// start is the key of a case's first state.
func start(c Case) [16]byte {
	r, _ := begin(c, false)
	defer r.end()
	key, _ := r.key(nil)
	return key
}

// retrace runs an order again, and tells it.
func retrace(c Case, way []*fork) []string {
	r, _ := begin(c, true)
	defer r.end()
	for _, f := range way {
		r.give(f.ready[f.next])
	}
	return r.trace
}
