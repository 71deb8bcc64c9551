package sim

import (
	"container/heap"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"runtime/debug"
	"time"
)

// loop is the one thread of a run: a heap of events in the order of their time
// and, at one time, of their making. What blocks runs in tasks, coroutines
// that give the thread back while they wait. Nothing else decides what happens
// next, so a run is the same each time.
type loop struct {
	now    time.Duration // true time since the run began
	seq    uint64
	events eventHeap
	// touched are the machines on which something happened that one of their
	// tasks may wait for.
	touched []*machine
	running *task
	steps   int
	workers *workers
	spare   []event // made in advance: one at a time costs more
}

// event is something that will happen.
type event struct {
	at   time.Duration
	seq  uint64
	what string
	run  func()
	slot int // its place in the heap; −1: not in it
}

type eventHeap []*event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i, j
}
func (h *eventHeap) Push(x any) {
	e := x.(*event)
	e.slot = len(*h)
	*h = append(*h, e)
}
func (h *eventHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.slot = -1
	return e
}

// at plans an event. A time that has passed means now.
func (l *loop) at(when time.Duration, what string, run func()) *event {
	l.seq++
	if len(l.spare) == 0 {
		l.spare = make([]event, 64)
	}
	e := &l.spare[0]
	l.spare = l.spare[1:]
	*e = event{at: max(when, l.now), seq: l.seq, what: what, run: run}
	heap.Push(&l.events, e)
	return e
}

// cancel takes an event back, and says whether it was still to come.
func (l *loop) cancel(e *event) bool {
	if e == nil || e.slot < 0 {
		return false
	}
	heap.Remove(&l.events, e.slot)
	return true
}

// step lets the next event happen, and whoever waited for what it brought go
// on. It returns nil when nothing is left to happen.
func (l *loop) step() *event {
	if len(l.events) == 0 {
		return nil
	}
	e := heap.Pop(&l.events).(*event)
	l.now = e.at
	l.steps++
	e.run()
	for i := 0; i < len(l.touched); i++ { // polling may touch others
		m := l.touched[i]
		m.poll()
		m.touched = false
	}
	l.touched = l.touched[:0]
	return e
}

// workers are coroutines that are kept for the next task: their stacks have
// grown already. They may be handed from one world to the next.
type workers struct{ idle []*worker }

// worker is a coroutine that runs one task after the other.
type worker struct {
	task  *task
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool // gives the thread back
}

func (ws *workers) take() *worker {
	if n := len(ws.idle); n > 0 {
		w := ws.idle[n-1]
		ws.idle = ws.idle[:n-1]
		return w
	}
	w := &worker{}
	w.next, w.stop = iter.Pull(func(yield func(struct{}) bool) {
		w.yield = yield
		for more := true; more; more = yield(struct{}{}) {
			w.task.run()
		}
	})
	return w
}

// close ends the coroutines.
func (ws *workers) close() {
	for _, w := range ws.idle {
		w.stop()
	}
	ws.idle = nil
}

// task is what a process does on a coroutine. Its code is the product's own:
// it blocks only in park.
type task struct {
	loop   *loop
	proc   *process
	name   string
	do     func()
	worker *worker // nil: not begun yet, or done
	// wanted says whether what it waits for has come.
	wanted func() bool
	killed bool
	done   bool
	// serving is the request that it answers; nil: none.
	serving *operation
}

// resume runs a task until it waits again or ends.
func (l *loop) resume(t *task) {
	if t.worker == nil {
		t.worker = l.workers.take()
		t.worker.task = t
	}
	outer := l.running
	l.running = t
	t.worker.next()
	l.running = outer
	if t.done {
		t.worker.task = nil
		l.workers.idle = append(l.workers.idle, t.worker)
		t.worker = nil
	}
	t.proc.machine.looked = true
	t.proc.machine.touch()
}

// run is the whole of a task.
func (t *task) run() {
	defer t.end()
	t.do()
}

// end is a task's last act. The panic of a task that was killed ends here;
// any other is a bug, of the product or of the simulator.
func (t *task) end() {
	t.done = true
	p := recover()
	err, _ := p.(error)
	if p != nil && (!t.killed || !errors.Is(err, http.ErrAbortHandler)) {
		panic(taskPanic(fmt.Sprintf("task %s: %v\n%s", t.name, p, debug.Stack())))
	}
}

// taskPanic is what a task died of, with its own stack.
type taskPanic string

// park makes the running task wait until wanted says yes. It returns only in a
// task that is still alive then.
func (l *loop) park(wanted func() bool) {
	t := l.running
	if t == nil {
		panic("sim: something waits outside a task")
	}
	t.wanted = wanted
	if !t.killed {
		t.worker.yield(struct{}{})
	}
	if t.killed {
		// Killed: unwind. This very value, since servers pass it on where they
		// turn any other panic into an answer.
		panic(http.ErrAbortHandler)
	}
}

// sleep makes the running task wait for a time.
func (l *loop) sleep(d time.Duration, what string) {
	over := false
	m := l.running.proc.machine
	l.at(l.now+d, what, func() {
		over = true
		m.touch()
	})
	l.park(func() bool { return over })
}

// hang makes the running task wait for its end.
func (l *loop) hang() { l.park(func() bool { return false }) }

func always() bool { return true }

// process is what a crash ends: tasks, and the memory that they share.
type process struct {
	machine *machine
	number  int // of the machine's processes
	tasks   []*task
	dead    bool
}

// start makes a task of the process, which runs when the machine is next
// looked at.
func (p *process) start(name string, f func()) {
	if p.dead {
		return
	}
	l := p.machine.loop
	p.tasks = append(p.tasks, &task{loop: l, proc: p, name: name, do: f, wanted: always})
	p.machine.touch()
}

// kill ends the process where it stands, as a crash does: what it would have
// done next never happens, but for deferred calls, which reach nothing that
// outlives it. It must not be called by one of its own tasks.
func (p *process) kill() {
	if p.dead {
		return
	}
	p.dead = true
	l := p.machine.loop
	for _, t := range p.tasks {
		if t.done {
			continue
		}
		t.killed = true
		if t.worker != nil {
			l.resume(t)
		}
	}
	p.tasks = nil
	p.machine.stopTimers(p)
}

// run polls every task of the process, and says whether one could go on.
func (p *process) run() (went bool) {
	kept := 0
	// Tasks may start others, which come behind; a kill empties the list.
	for i := 0; i < len(p.tasks); i++ {
		t := p.tasks[i]
		if t.wanted() {
			p.machine.loop.resume(t)
			went = true
		}
		if p.dead {
			return true
		}
		if !t.done {
			p.tasks[kept] = t
			kept++
		}
	}
	clear(p.tasks[kept:])
	p.tasks = p.tasks[:kept]
	return went
}

// ready says whether a channel is, and takes its value. A nil one never is.
func ready[T any](ch <-chan T) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
