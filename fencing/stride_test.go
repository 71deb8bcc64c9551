package fencing

import (
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// keep lets d pass, and calls Tick whenever it asks to be called.
func (g *rig) keep(d time.Duration) {
	g.t.Helper()
	end := g.now.Steady + d
	for next := g.now.Steady; g.now.Steady < end; {
		g.set(max(min(next, end)-g.now.Steady, time.Millisecond))
		var w *Write
		for w, next = g.s.Tick(g.now); w != nil; w, next = g.s.Tick(g.now) {
			g.do(w)
		}
	}
}

// S8: strides are 100 ms to 1 h.
func TestStrideBounds(t *testing.T) {
	p := smallPool(0)
	p.Unsafe = true
	for _, c := range []struct {
		stride time.Duration
		good   bool
	}{
		{MinStride - 1, false}, {MinStride, true}, {MaxStride, true}, {MaxStride + 1, false}, {MaxDuration, false},
	} {
		g := newRig(t, 10*time.Second, p)
		_, err := NewStore(startOfWorld, c.stride, true, p)
		_, err2 := NewServer(g.store.load(), c.stride, g.now)
		_, err3 := Recover(g.store.load(), g.now.Wall, c.stride, 0)
		if (err == nil) != c.good || (err2 == nil) != c.good || (err3 == nil) != c.good {
			t.Errorf("stride %v: NewStore %v, NewServer %v, Recover %v, want accepted: %v",
				c.stride, err, err2, err3, c.good)
		}
	}
}

// S8: a stride that gets shorter doesn't let server time run ahead: from the start,
// marks are written ahead by the shorter one.
func TestShorterStrideKeepsServerTime(t *testing.T) {
	p := smallPool(0)
	p.Unsafe = true
	const long, short = time.Hour, 10 * time.Second
	g := newRig(t, long, p)
	g.keep(31 * time.Minute)
	g.restart(short)
	if got := g.s.ServerTime(); got != g.now.Wall {
		t.Errorf("server time is %v ahead of the wall clock after the start, want equal",
			got.Sub(g.now.Wall))
	}
	g.keep(long - time.Second)
	if g.store.meta.Stride != long {
		t.Errorf("stride %v is stored before the longer one has passed, want %v",
			g.store.meta.Stride, long)
	}
	g.keep(10 * time.Second)
	if g.store.meta.Stride != short {
		t.Errorf("stride %v is stored once the longer one has passed, want %v", g.store.meta.Stride,
			short)
	}
	g.restart(short)
	if ahead := g.s.ServerTime().Sub(g.now.Wall); ahead > short {
		t.Errorf("server time is %v ahead of a right wall clock, want at most %v", ahead, short)
	}
}

// S8: while server time runs slow, the shorter stride is stored only once the mark is
// at most that far ahead.
func TestStrideShrinksOnlyWhereTheMarkIsNear(t *testing.T) {
	p := smallPool(0)
	p.Unsafe = true
	g := newRig(t, time.Hour, p)
	g.now.Wall -= 600_000 // server time runs 1 % slow
	g.restart(10 * time.Second)
	g.keep(time.Hour + time.Second)
	if ahead := g.s.Mark().Sub(g.s.ServerTime()); g.store.meta.Stride < ahead {
		t.Errorf("stride %v is stored with a mark %v ahead, want no shorter stride",
			g.store.meta.Stride, ahead)
	}
	g.keep(2 * time.Minute)
	if g.store.meta.Stride != 10*time.Second {
		t.Errorf("stride %v is stored after two more minutes, want 10s", g.store.meta.Stride)
	}
}

// S10: a term promises for its own stride after each mark, from its first one on. The
// deadlines of loaded leases include the stored stride (S6).
func TestTermKeepsItsOwnStride(t *testing.T) {
	p := smallPool(0)
	p.Unsafe = true
	g := newRig(t, time.Minute, p)
	l := g.lease("a")
	g.restart(2 * time.Second)
	if got, want := g.s.pools[DefaultPool].slots.at(
		l.Node).deadline, g.now.Steady+time.Minute+l.TTL; got != want {
		t.Errorf("the deadline of a loaded lease is %v, want now + stored stride + TTL = %v", got,
			want)
	}
	g.set(2*time.Second - 1)
	if _, r := g.beat(l); r != nil {
		t.Error(r)
	}
	g.set(1)
	if d, r := g.s.Heartbeat(g.now, g.refOf(l)); r != nil || d.Wait != WaitMark {
		t.Errorf("Heartbeat a stride after the mark: %+v, %v, want WaitMark", d, r)
	}
	if left := g.s.PromisesFor(g.now); left != 0 {
		t.Errorf("PromisesFor is %v a stride after the mark, want 0", left)
	}
}

// S8: with right clocks a store can be started and recovered whatever its stored
// stride, even one that only an older version allowed.
func TestLongStridesRestart(t *testing.T) {
	for _, stride := range []time.Duration{time.Minute, 5 * time.Minute, time.Hour, 23 * time.Hour,
		25 * time.Hour, MaxDuration} {
		p := smallPool(0)
		p.Unsafe = true
		g := newRig(t, 10*time.Second, p)
		g.store.meta.Stride = stride
		g.store.meta.Mark = g.now.Wall.Add(stride)
		l := g.lease("a")
		g.set(time.Second)
		g.restart(10 * time.Second)
		if got := g.s.ServerTime(); got != g.now.Wall {
			t.Errorf("stride %v: server time is %v ahead of a right wall clock", stride,
				got.Sub(g.now.Wall))
		}
		if _, r := g.beat(l); r != nil {
			t.Errorf("stride %v: Heartbeat: %v", stride, r)
		}
		b, err := Recover(g.store.load(), g.now.Wall, 10*time.Second, 0)
		if err != nil {
			t.Errorf("stride %v: Recover: %v", stride, err)
			continue
		}
		g.store.commit(b)
		g.restart(10 * time.Second)
		b, err = Recover(g.store.load(), g.now.Wall, 10*time.Second, 0)
		if err != nil {
			t.Errorf("stride %v: the second Recover: %v", stride, err)
		}
		if want := g.now.Wall.Add(stride); b.Meta.Mark < want {
			t.Errorf("stride %v: Recover stores mark %d, want at least now + stride = %d", stride,
				b.Meta.Mark, want)
		}
	}
}

// S8: Recover refuses a wrong wall clock, too.
func TestRecoverByAWrongClock(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	g.leap(time.Minute)
	been := g.store.meta.Mark.Add(-10 * time.Second)
	for behind, good := range map[snowflake.Millis]bool{60_000: true, 60_001: false} {
		if _, err := Recover(g.store.load(), been-behind, 10*time.Second, 0); (err == nil) != good {
			t.Errorf("a wall clock %d ms behind mark − stride: %v, want accepted: %v", behind, err,
				good)
		}
	}
}
