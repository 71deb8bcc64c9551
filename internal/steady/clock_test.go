package steady

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// machine is a computer whose two clocks a test moves by hand.
type machine struct {
	awake, asleep time.Duration
	broken        bool
	onBoot        func() // called after the clock that counts suspend was read
	checks        int    // how often that clock was read
}

func (m *machine) cheap() time.Duration { return m.awake }

func (m *machine) boot() (time.Duration, bool) {
	m.checks++
	now := m.awake + m.asleep + 1000*time.Hour // since the machine started
	if m.onBoot != nil {
		m.onBoot()
	}
	return now, !m.broken
}

func (m *machine) clock() *Clock {
	c := &Clock{cheap: m.cheap, boot: m.boot}
	c.boot0, c.works = c.boot()
	return c
}

func (m *machine) now(c *Clock) time.Duration { return c.at(m.cheap()) }

func wantNow(t *testing.T, m *machine, c *Clock, want time.Duration) {
	t.Helper()
	if got := m.now(c); got != want {
		t.Errorf("Now = %s after %s awake and %s asleep, want %s", got, m.awake, m.asleep, want)
	}
}

func TestCountsSuspend(t *testing.T) {
	m := &machine{}
	c := m.clock()
	wantNow(t, m, c, 0)
	m.awake += 10 * time.Second
	wantNow(t, m, c, 10*time.Second)

	m.asleep += time.Hour
	wantNow(t, m, c, 10*time.Second) // not checked again yet
	m.awake += time.Millisecond
	wantNow(t, m, c, time.Hour+10*time.Second+time.Millisecond)

	m.asleep += time.Minute
	m.awake += time.Second
	wantNow(t, m, c, time.Hour+time.Minute+11*time.Second+time.Millisecond)
}

// S10: the first reading of a server's clock after a suspend counts it.
func TestExactCountsSuspendAtOnce(t *testing.T) {
	m := &machine{}
	c := m.clock()
	wantNow(t, m, c, 0)
	m.asleep += time.Hour
	c.base = time.Now() // for Now itself, which reads the machine's own cheap clock
	c.checkAt.Store(int64(time.Hour))
	if got := c.Now(); got >= time.Hour {
		t.Fatalf("Now is %s right after the suspend, so this test shows nothing about Exact", got)
	}
	if got := m.now(c); got != 0 {
		t.Fatalf(
			"the fast path is %s right after the suspend, so this test shows nothing about Exact",
			got)
	}
	if got := c.Exact().Now(); got != time.Hour {
		t.Errorf("Exact = %s right after an hour asleep, want 1h0m0s", got)
	}
}

func TestChecksOncePerMillisecond(t *testing.T) {
	m := &machine{}
	c := m.clock()
	m.checks = 0
	for range 10_000 { // 10 ms
		m.awake += time.Microsecond
		m.now(c)
	}
	if m.checks > 10 {
		t.Errorf("the clock that counts suspend was read %d times in 10 ms, want at most 10",
			m.checks)
	}
}

// A stall between the two readings must not move the clock forward: nothing would
// correct that.
func TestStallWithinCheck(t *testing.T) {
	m := &machine{}
	c := m.clock()
	m.onBoot = func() { m.awake += time.Minute }
	m.awake += time.Second
	wantNow(t, m, c, time.Minute+time.Second)
	m.onBoot = nil
	m.awake += time.Second
	wantNow(t, m, c, time.Minute+2*time.Second)
}

func TestWithoutSuspendCounting(t *testing.T) {
	m := &machine{broken: true}
	c := m.clock()
	if c.CountsSuspend() {
		t.Error("CountsSuspend is true without a clock that counts suspend")
	}
	m.awake, m.asleep = time.Second, time.Hour
	wantNow(t, m, c, time.Second)

	// A failure later on keeps the suspended time that is known.
	m = &machine{}
	c = m.clock()
	m.awake, m.asleep = time.Second, time.Hour
	wantNow(t, m, c, time.Hour+time.Second)
	m.broken = true
	m.awake += time.Second
	wantNow(t, m, c, time.Hour+2*time.Second)
}

// Whatever the machine does, the clock never goes back and is never ahead of true time.
// After two milliseconds awake without a stall it is exact.
func TestSteadiness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{}
		c := m.clock()
		var before time.Duration
		read := func() time.Duration {
			now := m.now(c)
			if real := m.awake + m.asleep; now < before || now > real {
				t.Fatalf("Now is %s after a reading of %s, and the true time is %s", now, before,
					real)
			}
			before = now
			return now
		}
		ns := func(
			most int64) time.Duration {
			return time.Duration(rapid.Int64Range(0, most).Draw(t, "ns"))
		}
		t.Repeat(map[string]func(*rapid.T){
			"run":     func(*rapid.T) { m.awake += ns(3e6) },
			"suspend": func(*rapid.T) { m.asleep += ns(1e12) },
			"stall": func(*rapid.T) {
				d := ns(3e6)
				m.onBoot = func() { m.awake += d; m.onBoot = nil }
			},
			"settle": func(*rapid.T) {
				m.onBoot = nil
				m.awake += 2 * recheck
				if now := read(); now != m.awake+m.asleep {
					t.Fatalf("Now is %s, want the true time %s", now, m.awake+m.asleep)
				}
			},
			"read": func(*rapid.T) { read() },
		})
	})
}

// A reading is not below an earlier one on another goroutine.
func TestManyGoroutines(t *testing.T) {
	c := New()
	var highest atomic.Int64
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for range 50_000 {
				seen := highest.Load()
				now := int64(c.Now())
				if now < seen {
					t.Errorf("read %d after another goroutine had read %d", now, seen)
					return
				}
				raise(&highest, now)
			}
		})
	}
	readers.Wait()
}

func TestSleep(t *testing.T) {
	c := New()
	before := c.Now()
	c.Sleep(time.Millisecond)
	if slept := c.Now() - before; slept < time.Millisecond {
		t.Errorf("slept %s, want at least 1ms", slept)
	}
}

// Now should cost little more than time.Since.
func BenchmarkNow(b *testing.B) {
	c := New()
	for b.Loop() {
		_ = c.Now()
	}
}

func BenchmarkSince(b *testing.B) {
	start := time.Now()
	for b.Loop() {
		_ = time.Since(start)
	}
}

func BenchmarkBootTime(b *testing.B) {
	for b.Loop() {
		_, _ = bootTime()
	}
}
