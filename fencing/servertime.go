package fencing

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// Bounds of S8.
const (
	// maxLeap is the largest lead of the wall clock that server time follows at once.
	maxLeap = 10 * time.Minute
	// slew is the part of elapsed time by which server time runs faster or
	// slower to meet the wall clock: 1 %.
	slew = 100
	// maxWallBehind and maxWallAhead are how far the wall clock may lie from
	// mark − stride at a start.
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
	// rest is the part of the next ms that has passed.
	rest time.Duration
	// steady is the steady time of the reading to which ms and rest belong.
	steady time.Duration
	// offset is the wall clock minus server time at that reading.
	offset time.Duration
}

// startServerTime returns server time at a start: max(wall clock, mark − stride),
// with the stride that is stored with the mark: the mark itself lies up to a stride
// ahead of all clocks. It refuses a wall clock that is too far from mark − stride to
// be right.
func startServerTime(now Now, mark snowflake.Millis, stride time.Duration) (serverTime, error) {
	been := mark.Add(-stride)
	switch behind, ahead := been-now.Wall, now.Wall-been; {
	case now.Wall < 0 || now.Wall > lastServerTime:
		return serverTime{}, fmt.Errorf(
			"the wall clock says %d ms since 1970, which no clock that is right does: set the clock and start again", now.Wall)
	case behind > snowflake.Millis(maxWallBehind.Milliseconds()):
		return serverTime{}, fmt.Errorf(
			"the wall clock (%d) is %d s behind a time at which the store was served (%d): set the clock and start again; "+
				"if the clock is right, the store was served under a wrong one and IDs may carry timestamps up to %d: serve a new store whose node IDs are disjoint from this one's",
			now.Wall, behind/1000, been, mark)
	case ahead > snowflake.Millis(maxWallAhead.Milliseconds()):
		return serverTime{}, fmt.Errorf(
			"the wall clock (%d) is %d days ahead of when the store was served last (%d): set the clock and start again; "+
				"if the clock is right and the store has rested for that long, recover it first",
			now.Wall, ahead/(24*3600*1000), been)
	}
	ms := max(now.Wall, been)
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

// alarmed reports whether the wall clock is so far ahead that server time follows
// it at 1 % only.
func (t *serverTime) alarmed() bool { return t.offset > maxLeap }
