package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// UnconfirmedTime is the longest max_ttl or quarantine that needs no
// confirmation (S11).
const UnconfirmedTime = 24 * time.Hour

// EarliestOrigin is 2000-01-01, the earliest origin that needs no confirmation:
// an earlier one was most likely left out, or given in seconds.
const EarliestOrigin snowflake.Millis = 946_684_800_000

// The fields of a request that confirm what it asks for.
const (
	confirmLongTimes   = "confirm_long_times"
	confirmEarlyOrigin = "confirm_early_origin"
)

// Confirmed says which unusual settings of a pool a request confirms (S11). The
// zero value confirms none.
type Confirmed struct {
	// LongTimes confirms a max_ttl or quarantine above UnconfirmedTime. No later
	// setting frees a node ID sooner that was leased for so long.
	LongTimes bool
	// EarlyOrigin confirms an origin before EarliestOrigin. No later setting changes
	// the origin.
	EarlyOrigin bool
}

// ValidNew refuses a new pool that has an unusual setting which is not confirmed.
func (c Confirmed) ValidNew(p Pool) *Refusal {
	if origin := p.Layout.Origin; origin < EarliestOrigin && !c.EarlyOrigin {
		return unconfirmed(confirmEarlyOrigin, "origin_ms",
			"%d ms since 1970 is %s, and an origin before 2000 was most likely left out or given in seconds; it can't be changed later: give one in ms, such as %d",
			origin, origin.Time().UTC().Format(time.DateOnly), snowflake.DefaultLayout.Origin)
	}
	return c.validTimes(p, Pool{})
}

// validTimes refuses a change from old to p that raises max_ttl or quarantine above
// UnconfirmedTime without a confirmation. Other changes of a pool whose long times
// were confirmed once need no further confirmation.
func (c Confirmed) validTimes(p, old Pool) *Refusal {
	if c.LongTimes {
		return nil
	}
	if p.MaxTTL > max(UnconfirmedTime, old.MaxTTL) {
		return unconfirmed(confirmLongTimes, "max_ttl",
			"%v is above %v, and a lease that is granted for so long keeps its node ID for so long, whatever is set later: give less", p.MaxTTL, UnconfirmedTime)
	}
	if p.Quarantine > max(UnconfirmedTime, old.Quarantine) {
		return unconfirmed(confirmLongTimes, "quarantine",
			"%v is above %v, and node IDs whose holders die are kept for so long: give less",
			p.Quarantine, UnconfirmedTime)
	}
	return nil
}
