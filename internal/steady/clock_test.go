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
	onBoot        func() // called after the suspend-counting clock was read
	looks         int    // how often it was
}

func (m *machine) cheap() time.Duration { return m.awake }

func (m *machine) boot() (time.Duration, bool) {
	m.looks++
	now := m.awake + m.asleep + 1000*time.Hour // it was up for long before
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
	wantNow(t, m, c, 10*time.Second) // not yet looked at again
	m.awake += time.Millisecond
	wantNow(t, m, c, time.Hour+10*time.Second+time.Millisecond)

	m.asleep += time.Minute
	m.awake += time.Second
	wantNow(t, m, c, time.Hour+time.Minute+11*time.Second+time.Millisecond)
}

// S10: a server's clock counts a suspend from its first reading after it on.
func TestExactCountsSuspendAtOnce(t *testing.T) {
	m := &machine{}
	c := m.clock()
	wantNow(t, m, c, 0)
	m.asleep += time.Hour
	c.base = time.Now() // for Now itself, which reads the machine's own cheap clock
	c.checkAt.Store(int64(time.Hour))
	if got := c.Now(); got >= time.Hour {
		t.Fatalf("Now says %s at once, so this test shows nothing", got)
	}
	if got := m.now(c); got != 0 {
		t.Fatalf("the fast path says %s at once, so this test shows nothing", got)
	}
	if got := c.Exact().Now(); got != time.Hour {
		t.Errorf("Exact = %s right after an hour asleep, want 1h0m0s", got)
	}
}

func TestLooksOncePerMillisecond(t *testing.T) {
	m := &machine{}
	c := m.clock()
	m.looks = 0
	for range 10_000 { // 10 ms
		m.awake += time.Microsecond
		m.now(c)
	}
	if m.looks > 10 {
		t.Errorf("%d looks at the suspend-counting clock in 10 ms", m.looks)
	}
}

// A stall between the two readings must not push the clock forward: that would
// never be undone.
func TestStallWithinLook(t *testing.T) {
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
		t.Error("it says that it counts suspend")
	}
	m.awake, m.asleep = time.Second, time.Hour
	wantNow(t, m, c, time.Second)

	// One failure later on is no reason to forget what is known.
	m = &machine{}
	c = m.clock()
	m.awake, m.asleep = time.Second, time.Hour
	wantNow(t, m, c, time.Hour+time.Second)
	m.broken = true
	m.awake += time.Second
	wantNow(t, m, c, time.Hour+2*time.Second)
}

// Whatever the machine does, the clock never goes back and is never ahead of
// true time; once awake for two milliseconds without a stall, it is exact.
func TestSteadiness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{}
		c := m.clock()
		var before time.Duration
		read := func() time.Duration {
			now := m.now(c)
			if real := m.awake + m.asleep; now < before || now > real {
				t.Fatalf("it says %s after %s, and the truth is %s", now, before, real)
			}
			before = now
			return now
		}
		ns := func(most int64) time.Duration { return time.Duration(rapid.Int64Range(0, most).Draw(t, "ns")) }
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
					t.Fatalf("it says %s, and the truth is %s", now, m.awake+m.asleep)
				}
			},
			"read": func(*rapid.T) { read() },
		})
	})
}

// Readings of one goroutine that follow those of another are not below them.
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

// Now is to cost nearly what time.Since does.
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
