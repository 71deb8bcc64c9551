package snowflake_test

import (
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// testClock is a steady clock that a test advances by hand; Sleep advances it, too.
type testClock struct {
	now     time.Duration
	naps    []time.Duration
	onNow   func()                // called before each reading
	onSleep func(d time.Duration) // called instead of advancing
}

func (c *testClock) Now() time.Duration {
	if c.onNow != nil {
		c.onNow()
	}
	return c.now
}

func (c *testClock) Sleep(d time.Duration) {
	c.naps = append(c.naps, d)
	if c.onSleep != nil {
		c.onSleep(d)
		return
	}
	c.now += d
}

const (
	ms = time.Millisecond

	// t0 is the server time at which the tests' leases are granted.
	t0 = snowflake.Millis(1_800_000_000_000)
)

// small has four IDs per node and millisecond.
var small = snowflake.Layout{Origin: t0 - 1000, TimestampBits: 41, NodeBits: 4, SequenceBits: 2}

// grantAt returns a lease of one second, granted by a reply without delay.
func grantAt(c *testClock, l snowflake.Layout, server snowflake.Millis) snowflake.Grant {
	return snowflake.Grant{
		Layout: l, Node: 5,
		Floor: server, Ceiling: server + 1000, Deadline: c.now + time.Second,
		Time: snowflake.TimeSample{ServerTime: server, ReceivedAt: c.now},
	}
}

// started returns a generator with a session for grantAt's lease, changed by edit.
func started(t *testing.T, c *testClock, opts snowflake.Options,
	edit func(*snowflake.Grant)) (*snowflake.Generator, *snowflake.Session) {
	t.Helper()
	g := snowflake.NewGenerator(c, opts)
	grant := grantAt(c, small, t0)
	if edit != nil {
		edit(&grant)
	}
	l, err := g.Begin(grant)
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	return g, l
}

// mint returns the parts of the next ID of a generator with layout small.
func mint(t *testing.T, g *snowflake.Generator) snowflake.Parts {
	t.Helper()
	id, err := g.Next()
	if err != nil {
		t.Fatalf("Next: %v", err)
	}
	p, err := small.Decompose(id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
