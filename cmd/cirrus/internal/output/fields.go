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

// StatusFields are a node ID's, for people; of nil they make a heading. What
// can be long or odd comes last.
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

// timeLeft is how long the state lasts; free has no end of its own.
func timeLeft(s *cirrusv1.LeaseStatus) string {
	if s.GetState() == cirrusv1.LeaseState_LEASE_STATE_FREE {
		return "-"
	}
	return ShortDuration(s.GetTimeLeft())
}

// stateName is a state in lower case. Why it is quarantined can matter.
func stateName(s *cirrusv1.LeaseStatus) string {
	name := WireName(s.GetState().String(), "LEASE_STATE_")
	if s.GetRevoked() && s.GetState() == cirrusv1.LeaseState_LEASE_STATE_QUARANTINED {
		name += ",revoked"
	}
	return name
}

// WireName is an enum's name in lower case, without what all of them share.
func WireName(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}

// LayoutBits are a layout's, as --layout takes them.
func LayoutBits(l *cirrusv1.Layout) string {
	return fmt.Sprintf("%d/%d/%d", l.GetTimestampBits(), l.GetNodeBits(), l.GetSequenceBits())
}

func Decimal[T uint32 | uint64 | int64](n T) string {
	if n < 0 {
		return strconv.FormatInt(int64(n), 10)
	}
	return strconv.FormatUint(uint64(n), 10)
}

// ShortDuration is a duration for people; "-" if there is none.
func ShortDuration(d *durationpb.Duration) string {
	if d == nil {
		return "-"
	}
	return d.AsDuration().Round(100 * time.Millisecond).String()
}
