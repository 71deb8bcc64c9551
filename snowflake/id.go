package snowflake

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strconv"
)

// ID is a Snowflake ID, 0 … 2^63−1. In the default layout its bits are
//
//	 63  62                                        22 21         12 11            0
//	┌───┬────────────────────────────────────────────┬─────────────┬───────────────┐
//	│ 0 │ timestamp, ms since the origin: 41 bits    │ node ID: 10 │ sequence: 12  │
//	└───┴────────────────────────────────────────────┴─────────────┴───────────────┘
//
// so IDs sort by timestamp, as numbers and as base32. In text and JSON an ID is
// a decimal string, since a JSON number loses digits above 2^53 in many readers.
type ID int64

// String returns the ID in decimal.
func (id ID) String() string { return strconv.FormatInt(int64(id), 10) }

// Parse reads an ID in decimal: only digits, without leading zeros, so that each
// ID has exactly one text.
func Parse(s string) (ID, error) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, fmt.Errorf("ID %s is not a decimal number: %q at byte %d is no digit",
				quote(s), s[i], i)
		}
	}
	switch {
	case s == "":
		return 0, fmt.Errorf("ID \"\" is empty: give a decimal number")
	case s[0] == '0' && len(s) > 1:
		return 0, fmt.Errorf("ID %s has leading zeros: leave them out", quote(s))
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("ID %s is above 2^63−1: no ID is that large", quote(s))
	}
	return ID(n), nil
}

// quote quotes a value for an error and cuts off all but its first 64 bytes.
func quote(s string) string {
	const longest = 64
	if len(s) > longest {
		return strconv.Quote(s[:longest]) + "…"
	}
	return strconv.Quote(s)
}

// check returns an error for a negative number, which is no ID. All that write an
// ID for other processes call it.
func (id ID) check() error {
	if id < 0 {
		return fmt.Errorf("ID %d is negative: no ID is", id)
	}
	return nil
}

// MarshalText implements encoding.TextMarshaler. It is an error if the ID is
// negative.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), id.check() }

// UnmarshalText implements encoding.TextUnmarshaler. Errors as Parse.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err == nil {
		*id = parsed
	}
	return err
}

// MarshalJSON implements json.Marshaler: a decimal string. It is an error if
// the ID is negative.
func (id ID) MarshalJSON() ([]byte, error) { return []byte(`"` + id.String() + `"`), id.check() }

// maxExactNumber is the highest integer that every JSON reader keeps: 2^53 − 1.
const maxExactNumber = 1<<53 - 1

// UnmarshalJSON implements json.Unmarshaler. It accepts a decimal string, or a
// number up to 2^53−1; a layout of at most 53 bits has no higher IDs. It refuses a
// higher number, which its writer or a program in between may have rounded. null
// leaves the ID as it is, as for all types in encoding/json.
func (id *ID) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	if number, err := Parse(string(data)); err == nil && number <= maxExactNumber {
		*id = number
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf(
			"ID %s is neither a JSON string nor a whole number up to 2^53−1: send it as \"123\", as JSON numbers lose digits above that", quote(string(data)))
	}
	return id.UnmarshalText([]byte(s))
}

// Value implements driver.Valuer: an int64. It is an error if the ID is
// negative.
func (id ID) Value() (driver.Value, error) { return int64(id), id.check() }

// Scan implements sql.Scanner. It accepts an int64 or uint64 from 0 to 2^63−1, or
// a decimal string or []byte; for NULL use sql.Null[ID].
func (id *ID) Scan(src any) error {
	switch src := src.(type) {
	case int64:
		if err := ID(src).check(); err != nil {
			return err
		}
		*id = ID(src)
		return nil
	case uint64: // an unsigned column, as in ClickHouse
		if src > math.MaxInt64 {
			return fmt.Errorf("ID %d is above 2^63−1: no ID is that large", src)
		}
		*id = ID(src)
		return nil
	case string:
		return id.UnmarshalText([]byte(src))
	case []byte:
		return id.UnmarshalText(src)
	}
	return fmt.Errorf(
		"ID can't be scanned from %T %s: use a BIGINT or text column, and sql.Null for NULL", src,
		quote(fmt.Sprint(src)))
}

// LogValue implements slog.LogValuer: a decimal string, as in JSON.
func (id ID) LogValue() slog.Value { return slog.StringValue(id.String()) }
