package output

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// MillisLayout is RFC 3339 with milliseconds.
const MillisLayout = "2006-01-02T15:04:05.000Z07:00"

// StatusFields returns the fields of a node ID for a table, and of nil those of its
// heading. The app ID comes last, because it can be long.
func StatusFields(s *cirrusv1.LeaseStatus) []Field {
	return []Field{
		{"node_id", Decimal(s.GetNodeId())},
		{"state", stateName(s)},
		{"time_left", timeLeft(s)},
		{"epoch", Decimal(s.GetEpoch())},
		{"ttl", ShortDuration(s.GetTtl())},
		{"app_id", s.GetAppId()},
	}
}

// timeLeft returns how long the state lasts. Free lasts until the next grant.
func timeLeft(s *cirrusv1.LeaseStatus) string {
	if s.GetState() == cirrusv1.LeaseState_LEASE_STATE_FREE {
		return "-"
	}
	return ShortDuration(s.GetTimeLeft())
}

// stateName returns a state in lower case, and whether a quarantine comes from a
// revoke.
func stateName(s *cirrusv1.LeaseStatus) string {
	name := WireName(s.GetState().String(), "LEASE_STATE_")
	if s.GetRevoked() && s.GetState() == cirrusv1.LeaseState_LEASE_STATE_QUARANTINED {
		name += ",revoked"
	}
	return name
}

// WireName returns the name of an enum's value in lower case and without the prefix
// that all values share.
func WireName(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}

// LayoutBits returns the bits of a layout as --layout takes them.
func LayoutBits(l *cirrusv1.Layout) string {
	return fmt.Sprintf("%d/%d/%d", l.GetTimestampBits(), l.GetNodeBits(), l.GetSequenceBits())
}

// Decimal returns a number in decimal.
func Decimal[T uint32 | uint64 | int64](n T) string {
	if n < 0 {
		return strconv.FormatInt(int64(n), 10)
	}
	return strconv.FormatUint(uint64(n), 10)
}

// ShortDuration returns a duration rounded to tenths of a second, and "-" for nil.
func ShortDuration(d *durationpb.Duration) string {
	if d == nil {
		return "-"
	}
	return d.AsDuration().Round(100 * time.Millisecond).String()
}
