package fencing

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// Bounds of S8.
const (
	// maxLeap is how far ahead the wall clock may be to be followed at once.
	maxLeap = 10 * time.Minute
	// slew is the part of elapsed time by which server time runs faster or
	// slower to meet the wall clock: 1 %.
	slew = 100
	// maxWallBehind and maxWallAhead are how far the wall clock may lie from
	// the mark at a start.
	maxWallBehind = 24 * time.Hour
	maxWallAhead  = 365 * 24 * time.Hour
	// lastServerTime bounds server time, and with it all arithmetic on
	// Millis and Durations: 2262-01-01. No clock is right beyond it.
	lastServerTime snowflake.Millis = 9214646400000
)

// serverTime is the server's idea of Unix ms, by which windows are cut (S8).
// It never goes back, whatever the wall clock does.
type serverTime struct {
	ms snowflake.Millis
	// rest is what has passed of the ms after ms.
	rest time.Duration
	// steady is the reading at which ms and rest were right.
	steady time.Duration
	// offset is the wall clock less server time at that reading.
	offset time.Duration
}

// startServerTime begins a start's server time: max(wall clock, mark − stride).
// It refuses a wall clock that is too far from the mark to be right.
func startServerTime(now Now, mark snowflake.Millis, stride time.Duration) (serverTime, error) {
	switch behind, ahead := mark-now.Wall, now.Wall-mark; {
	case now.Wall < 0 || now.Wall > lastServerTime:
		return serverTime{}, fmt.Errorf("the wall clock says %d ms since 1970, which no clock that is right does: set the clock and start again", now.Wall)
	case behind > snowflake.Millis(maxWallBehind.Milliseconds()):
		return serverTime{}, fmt.Errorf("the wall clock (%d) is %d s behind the store's mark (%d): set the clock and start again; "+
			"if the clock is right, the mark was raised under a wrong one and IDs may carry timestamps up to it: serve a new store whose --node-ids are disjoint from this one's",
			now.Wall, behind/1000, mark)
	case ahead > snowflake.Millis(maxWallAhead.Milliseconds()):
		return serverTime{}, fmt.Errorf("the wall clock (%d) is %d days ahead of the store's mark (%d): set the clock and start again; "+
			"if the clock is right and the store has rested for that long, run `cirrus recover` on it first",
			now.Wall, ahead/(24*3600*1000), mark)
	}
	ms := max(now.Wall, mark.Add(-stride))
	return serverTime{ms: ms, steady: now.Steady, offset: now.Wall.Sub(ms)}, nil
}

// advance moves server time to this reading and returns it.
func (t *serverTime) advance(now Now) snowflake.Millis {
	elapsed := max(now.Steady-t.steady, 0)
	wall := min(max(now.Wall, 0), lastServerTime)
	lead := wall - t.ms - snowflake.Millis(elapsed/time.Millisecond)
	switch limit := snowflake.Millis(maxLeap.Milliseconds()); {
	case lead > limit:
		elapsed += min(elapsed/slew, lead.Sub(0)) // S8: a large lead at 1 %, with an alarm
	case lead > 0:
		t.ms, t.rest, elapsed = wall, 0, 0 // S8: a small lead at once
	case lead < 0:
		elapsed -= min(elapsed/slew, (-lead).Sub(0)) // S8: never back, but 1 % slow until they meet
	}
	t.rest += elapsed
	t.ms = min(t.ms+snowflake.Millis(t.rest/time.Millisecond), lastServerTime)
	t.rest %= time.Millisecond
	t.steady = max(t.steady, now.Steady)
	t.offset = wall.Sub(t.ms)
	return t.ms
}

// alarmed says whether the wall clock is so far ahead that it is not believed.
func (t *serverTime) alarmed() bool { return t.offset > maxLeap }
