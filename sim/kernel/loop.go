package kernel

import (
	"container/heap"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"runtime/debug"
	"slices"
	"time"
)

// Loop is the one thread of a run: a heap of events in the order of their time
// and, at one time, of their making. What blocks runs in tasks, coroutines
// that give the thread back while they wait. Nothing else decides what happens
// next, so a run is the same each time.
type Loop struct {
	// Now is the true time since the run began.
	Now    time.Duration
	seq    uint64
	events eventHeap
	// touched are the machines on which something happened that one of their
	// tasks may wait for.
	touched []*Machine
	// Running is the task that runs; nil: none, it is an event that happens.
	Running *Task
	// Steps counts the events that have happened.
	Steps   int
	workers *Workers
	spare   []Event // made in advance: one at a time costs more
}

// Event is something that will happen at a true time. Seq orders the events of
// one time, and What names the event for people.
type Event struct {
	At   time.Duration
	Seq  uint64
	What string
	Run  func()
	slot int // its place in the heap; −1: not in it
}

type eventHeap []*Event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].At < h[j].At || h[i].At == h[j].At && h[i].Seq < h[j].Seq
}
func (h eventHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i, j
}
func (h *eventHeap) Push(x any) {
	e := x.(*Event)
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

// NewLoop returns a loop without events, whose tasks run on those workers.
func NewLoop(ws *Workers) *Loop { return &Loop{workers: ws} }

// Due reports whether the next event comes by that time.
func (l *Loop) Due(by time.Duration) bool { return len(l.events) > 0 && l.events[0].At <= by }

// At plans an event. A time that has passed means now.
func (l *Loop) At(when time.Duration, what string, run func()) *Event {
	l.seq++
	if len(l.spare) == 0 {
		l.spare = make([]Event, 64)
	}
	e := &l.spare[0]
	l.spare = l.spare[1:]
	*e = Event{At: max(when, l.Now), Seq: l.seq, What: what, Run: run}
	heap.Push(&l.events, e)
	return e
}

// Cancel takes an event back, and reports whether it was still to come.
func (l *Loop) Cancel(e *Event) bool {
	if e == nil || e.slot < 0 {
		return false
	}
	heap.Remove(&l.events, e.slot)
	return true
}

// Step lets the next event happen, and whoever waited for what it brought go
// on. It returns nil when nothing is left to happen.
func (l *Loop) Step() *Event {
	if len(l.events) == 0 {
		return nil
	}
	e := heap.Pop(&l.events).(*Event)
	l.Now = e.At
	l.Steps++
	e.Run()
	for i := 0; i < len(l.touched); i++ { // polling may touch others
		m := l.touched[i]
		m.poll()
		m.touched = false
	}
	l.touched = l.touched[:0]
	return e
}

// Workers are coroutines that are kept for the next task: their stacks have
// grown already. They may be handed from one world to the next.
type Workers struct{ idle []*worker }

// worker is a coroutine that runs one task after the other.
type worker struct {
	task  *Task
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool // gives the thread back
}

func (ws *Workers) take() *worker {
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

// Close ends the coroutines.
func (ws *Workers) Close() {
	for _, w := range ws.idle {
		w.stop()
	}
	ws.idle = nil
}

// Task is what a process does on a coroutine. Its code is the product's own:
// it blocks only in Park.
type Task struct {
	loop   *Loop
	Proc   *Process
	name   string
	do     func()
	worker *worker // nil: not started yet, or done
	// wanted reports whether what it waits for has come.
	wanted func() bool
	killed bool
	done   bool
	// Errand is what whoever started it wants to find again while it runs.
	Errand any
}

// resume runs a task until it waits again or ends.
func (l *Loop) resume(t *Task) {
	if t.worker == nil {
		t.worker = l.workers.take()
		t.worker.task = t
	}
	outer := l.Running
	l.Running = t
	t.worker.next()
	l.Running = outer
	if t.done {
		t.worker.task = nil
		l.workers.idle = append(l.workers.idle, t.worker)
		t.worker = nil
	}
	t.Proc.Machine.Ran = true
	t.Proc.Machine.Touch()
}

// run is the whole of a task.
func (t *Task) run() {
	defer t.end()
	t.do()
}

// end is a task's last act. The panic of a task that was killed ends here;
// any other is a bug, of the product or of the simulator.
func (t *Task) end() {
	t.done = true
	p := recover()
	err, _ := p.(error)
	if p != nil && (!t.killed || !errors.Is(err, http.ErrAbortHandler)) {
		panic(TaskPanic(fmt.Sprintf("task %s: %v\n%s", t.name, p, debug.Stack())))
	}
}

// TaskPanic is what a task died of, with its own stack.
type TaskPanic string

// Park makes the running task wait until wanted says yes. It returns only in a
// task that is still alive then.
func (l *Loop) Park(wanted func() bool) {
	t := l.Running
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

// Sleep makes the running task wait for a time.
func (l *Loop) Sleep(d time.Duration, what string) {
	ended := false
	m := l.Running.Proc.Machine
	l.At(l.Now+d, what, func() {
		ended = true
		m.Touch()
	})
	l.Park(func() bool { return ended })
}

// Block makes the running task wait for its end.
func (l *Loop) Block() { l.Park(func() bool { return false }) }

func always() bool { return true }

// Process is what a crash ends: tasks, and the memory that they share. Number
// counts the processes of its machine.
type Process struct {
	Machine *Machine
	Number  int
	tasks   []*Task
	Dead    bool
}

// Start makes a task of the process, which runs when the machine is next
// looked at.
func (p *Process) Start(name string, f func()) {
	if p.Dead {
		return
	}
	l := p.Machine.Loop
	p.tasks = append(p.tasks, &Task{loop: l, Proc: p, name: name, do: f, wanted: always})
	p.Machine.Touch()
}

// Kill ends the process where it stands, as a crash does: what it would have
// done next never happens, but for deferred calls, which reach nothing that
// outlives it. It must not be called by one of its own tasks.
func (p *Process) Kill() {
	if p.Dead {
		return
	}
	p.Dead = true
	l := p.Machine.Loop
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
	p.Machine.stopTimers(p)
}

// run polls every task of the process, and reports whether one could go on.
func (p *Process) run() (went bool) {
	kept := 0
	// Tasks may start others, which come behind; a kill empties the list.
	for i := 0; i < len(p.tasks); i++ {
		t := p.tasks[i]
		if t.wanted() {
			p.Machine.Loop.resume(t)
			went = true
		}
		if p.Dead {
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

// TaskCount returns how many tasks the process has.
func (p *Process) TaskCount() int { return len(p.tasks) }

// IdleBut reports whether no task of the process runs but those with these names.
func (p *Process) IdleBut(names ...string) bool {
	return !slices.ContainsFunc(p.tasks, func(t *Task) bool {
		return !t.done &&
			!slices.Contains(names, t.name)
	})
}

// Ready reports whether a channel has a value or is closed, and takes the value.
// A nil channel never is ready.
func Ready[T any](ch <-chan T) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
