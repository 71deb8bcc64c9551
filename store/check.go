package store

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// lastMillis is the last point in time that a store may hold, in Unix ms. It is in the
// year 19809, beyond the last timestamp of any layout, and adding a TTL to it can't
// overflow an int64.
const lastMillis snowflake.Millis = 1<<49 - 1

// The checks err for values that no version of Cirrus writes. The same checks are made
// before writing and after reading, so no batch leaves a store that can't be loaded.

func checkMeta(m *fencing.Meta) error {
	switch {
	case !plausible(m.Mark):
		return fmt.Errorf("its mark is %d", m.Mark)
	case m.Stride < fencing.MinStride || m.Stride > fencing.MaxDuration:
		return fmt.Errorf("its stride is %v", m.Stride)
	case !plausible(m.CreatedAt):
		return fmt.Errorf("its creation time is %d", m.CreatedAt)
	case m.FirstEpoch == 0:
		return errors.New("its first epoch is 0")
	case m.SuspectFor < 0 || m.SuspectFor > fencing.MaxSuspicion:
		return fmt.Errorf("it is suspicious for %v", m.SuspectFor)
	}
	return nil
}

func checkPool(p *fencing.Pool) error {
	// The check of the quarantine is left out: it depends on the stride, which may have
	// grown since the pool was written.
	q := *p
	q.Unsafe = true
	if r := q.Validate(0); r != nil {
		return r
	}
	if !plausible(p.CreatedAt) {
		return fmt.Errorf("its creation time is %d", p.CreatedAt)
	}
	if p.LongestTTL != 0 && (p.LongestTTL < p.MaxTTL || p.LongestTTL > fencing.MaxDuration) {
		return fmt.Errorf("its longest TTL is %v, and its max_ttl %v", p.LongestTTL, p.MaxTTL)
	}
	return nil
}

func checkRecord(r *fencing.Record) error {
	switch {
	case r.Epoch == 0:
		return errors.New("its epoch is 0")
	case len(r.App) == 0 || len(r.App) > fencing.MaxAppID || !utf8.ValidString(string(r.App)):
		return fmt.Errorf("its app ID is %q", r.App)
	case r.TTL < fencing.MinTTL || r.TTL > fencing.MaxDuration:
		return fmt.Errorf("its TTL is %v", r.TTL)
	case r.Status != fencing.Live && r.Status != fencing.Ended && r.Status != fencing.Revoked:
		return fmt.Errorf("its status is %d", r.Status)
	// A lease that was released unused has the ceiling floor − 1 (S4).
	case !plausible(r.Floor) || r.Ceiling < r.Floor-1 || r.Ceiling > lastMillis:
		return fmt.Errorf("its window is %d to %d", r.Floor, r.Ceiling)
	case r.Silence.Noted && r.Status == fencing.Ended:
		return errors.New("it is ended, but has a silence note")
	case !r.Silence.Noted && r.Silence != (fencing.Silence{}):
		return errors.New("it has the values of a silence note, but no note")
	// Servers note −MaxDuration or more: by then the longest quarantine has ended.
	case r.Silence.Noted && (r.Silence.Left > r.TTL+fencing.MaxDuration ||
		r.Silence.Left < -fencing.MaxDuration ||
		r.Silence.Ceiling < r.Floor-1 || r.Silence.Ceiling > lastMillis):
		return fmt.Errorf("its silence note says %v left and a ceiling of %d", r.Silence.Left,
			r.Silence.Ceiling)
	}
	return nil
}

func plausible(m snowflake.Millis) bool { return m >= 0 && m <= lastMillis }
