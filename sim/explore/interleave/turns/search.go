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

// Case is what a search searches: a few threads, and a check of their results.
type Case struct {
	Name string
	// Start returns new threads and their check. It must do the same each time.
	// Threads must share only values of this package's types; a thread reports
	// with Note what it learns otherwise.
	Start func() (threads []func(), check func() error)
}

// Report says what a search found.
type Report struct {
	Name string
	// Orders is the number of possible orders of all turns.
	Orders *big.Int
	// States is the number of different states that the orders go through. From
	// a state that several orders lead to, the search goes on once.
	States int
	// Runs counts how often the threads ran.
	Runs int
	// Turns is the length of the longest order.
	Turns int
	// Complete says that every order was searched.
	Complete bool
	// Broken is the error of the check, and Trace the order of turns before it.
	Broken error
	Trace  []string
}

// cell is what a search knows of a value that threads share.
type cell struct {
	owner *run
	name  uint64 // the thread and turn that used it first; 0: none did
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
	// what, cell and ready belong to the turn that the thread waits for. ready
	// reports whether the turn may come; nil: it may.
	what  string
	cell  *cell
	ready func() bool
	turns int
	done  bool
	// seen is everything that the thread has learned from the others.
	seen []byte
}

var (
	// current is the thread whose turn it is, and setup while none runs.
	setup   = &thread{}
	current = setup
	// present is the present run.
	present *run
)

var errEnded = errors.New("turns: this run has ended")

// name returns a name of the thread's present turn that is the same in each run.
func (t *thread) name() uint64 { return uint64(t.id+1)<<32 | uint64(t.turns+1) }

// turn waits until the running thread may take its next turn.
func turn(what string, c *cell, ready func() bool) {
	t := current
	if t != setup {
		t.what, t.cell, t.ready = what, c, ready
		if !t.yield(struct{}{}) {
			panic(errEnded)
		}
	}
	t.turns++
	if c != nil && c.owner != present && present != nil {
		c.owner, c.name = present, t.name()
		present.cells = append(present.cells, c)
	}
}

// noted adds a value to what the running thread has learned, and returns it.
func noted(v uint64) uint64 {
	current.seen = binary.AppendUvarint(current.seen, v)
	return v
}

// Note adds a value to what the running thread has learned. It is for what a thread
// does not learn from this package's types.
func Note(v uint64) { noted(v) }

// Begin takes a turn in which nothing happens.
func Begin(what string) { turn(what, nil, nil) }

// Thread returns the running thread's number, from 0, or −1 if none runs.
func Thread() int { return current.id }

// begin starts the threads of a case. Each runs up to its first turn.
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
				if err, ok := p.(error); p != nil && (!ok || !errors.Is(err, errEnded)) {
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

// resume lets a thread run up to its next turn.
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
		line := fmt.Sprintf("%3d  thread %d: %s → %v%s",
			len(r.trace)+1, i, what, learned(t.seen[seen:]), ending(t))
		r.trace = append(r.trace, line)
	}
}

// learned decodes what a thread has learned.
func learned(b []byte) []uint64 {
	var all []uint64
	for len(b) > 0 {
		v, n := binary.Uvarint(b)
		all, b = append(all, v), b[n:]
	}
	return all
}

// ending says in a trace that a thread has ended.
func ending(t *thread) string {
	if t.done {
		return ", and is done"
	}
	return ""
}

// ready appends the threads that may take a turn to a list.
func (r *run) ready(list []int) []int {
	for i, t := range r.threads {
		if !t.done && (t.ready == nil || t.ready()) {
			list = append(list, i)
		}
	}
	return list
}

// end ends all threads.
func (r *run) end() {
	for _, t := range r.threads {
		t.stop()
	}
	present = nil
}

// key returns a hash of the state: of what each thread has learned, which
// determines what it does, and of the shared values.
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

// fork is a state on the path of the present run, with the threads that may go on
// from it. Those from next on have not been tried.
type fork struct {
	key    [16]byte
	ready  []int
	next   int // of ready
	orders *big.Int
}

// Search searches every order of a case's turns, in at most this many runs. 0: no
// bound.
func Search(c Case, most int) Report {
	rep := Report{Name: c.Name, Orders: new(big.Int)}
	known := map[[16]byte]*big.Int{}
	var path []*fork
	var buf []byte
	for most == 0 || rep.Runs < most {
		rep.Runs++
		r, check := begin(c, false)
		for _, f := range path {
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
				rep.Turns = max(rep.Turns, len(path))
				rep.Broken = check()
				known[key] = orders
				break
			}
			path = append(path, &fork{key: key, ready: ready, orders: new(big.Int)})
			r.give(ready[0])
		}
		r.end()
		if rep.Broken != nil {
			rep.Trace = retrace(c, path)
			rep.States = len(known) + len(path)
			return rep
		}
		if path = back(path, orders, known); len(path) == 0 {
			rep.Complete = true
			if first, ok := known[start(c)]; ok {
				rep.Orders = first
			}
			break
		}
	}
	rep.States = len(known) + len(path)
	return rep
}

// back returns the path to the last fork that has a thread to try.
func back(path []*fork, orders *big.Int, known map[[16]byte]*big.Int) []*fork {
	for len(path) > 0 {
		f := path[len(path)-1]
		f.orders.Add(f.orders, orders)
		if f.next++; f.next < len(f.ready) {
			return path
		}
		known[f.key], orders = f.orders, f.orders
		path = path[:len(path)-1]
	}
	return nil
}

// start returns the key of a case's first state.
func start(c Case) [16]byte {
	r, _ := begin(c, false)
	defer r.end()
	key, _ := r.key(nil)
	return key
}

// retrace runs the threads in an order once more, and returns a trace.
func retrace(c Case, path []*fork) []string {
	r, _ := begin(c, true)
	defer r.end()
	for _, f := range path {
		r.give(f.ready[f.next])
	}
	return r.trace
}
