package snowflake

import (
	"math"
	"time"
)

// Millis is a point in time in Unix milliseconds.
type Millis int64

// Add returns the point in time d later, with d truncated to whole milliseconds.
func (m Millis) Add(d time.Duration) Millis { return m + Millis(d/time.Millisecond) }

// Sub returns the time from o to m, or the longest Duration of that sign if it
// does not fit into a Duration (292 years), as time.Time.Sub does.
func (m Millis) Sub(o Millis) time.Duration {
	const most = Millis(math.MaxInt64 / int64(time.Millisecond))
	d := m - o // if it overflows, its sign is wrong
	switch {
	case m > o && (d < 0 || d > most):
		return math.MaxInt64
	case m < o && (d > 0 || d < -most):
		return math.MinInt64
	}
	return time.Duration(d) * time.Millisecond
}

// Time returns the point in time in UTC, for people to read.
func (m Millis) Time() time.Time { return time.UnixMilli(int64(m)).UTC() }
