package decode

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/cirrus-id/cirrus/snowflake"
)

var (
	// thousands is a number as spreadsheets write it for people.
	thousands = regexp.MustCompile(`^\d{1,3}([,_ ]\d{3})+$`)
	// rounded is a number that has lost its last digits.
	rounded = regexp.MustCompile(`^-?\d+([.,]\d+)?[eE][+-]?\d+$|^-?\d+[.,]\d+$`)
	// base32Shape is what an ID in base32 looks like.
	base32Shape = regexp.MustCompile(`^[0-9A-Za-z]{13}$`)
)

// Parse reads an ID as people have it: in decimal or base32, and as
// spreadsheets, CSV files and JavaScript leave it, in quotes, with a carriage
// return, an n, or commas between the thousands. Digits alone are decimal,
// unless base32 is set.
func Parse(text string, base32 bool) (uint64, error) {
	s := strings.TrimSpace(text)
	if n := len(s); n >= 2 && s[0] == s[n-1] && (s[0] == '"' || s[0] == '\'') {
		s = s[1 : n-1]
	}
	if base32 {
		id, err := snowflake.ParseBase32(s)
		return uint64(id), err
	}
	// JavaScript's BigInt
	if digits := strings.TrimSuffix(s, "n"); digits != s && OnlyDigits(digits) {
		s = digits
	}
	if thousands.MatchString(s) {
		s = strings.NewReplacer(",", "", "_", "", " ", "").Replace(s)
	}
	switch {
	case s == "":
		return 0, fmt.Errorf("ID %q is empty: give a decimal number, or 13 characters of base32",
			text)
	case OnlyDigits(s):
		id, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("ID %q is above 2^64-1: no ID is that large", text)
		}
		return id, nil
	case rounded.MatchString(s):
		return 0, fmt.Errorf(
			"ID %q has lost its last digits, as spreadsheets and JSON numbers do it: take it from where "+
				"it was text", text)
	case s[0] == '-' && OnlyDigits(s[1:]):
		return 0, fmt.Errorf(
			"ID %q is negative: no Snowflake ID is; a column of 64 bits without a sign may have been read "+
				"with one", text)
	case base32Shape.MatchString(s):
		id, err := snowflake.ParseBase32(s)
		return uint64(id), err
	}
	return 0, fmt.Errorf("ID %q is no ID: give a decimal number, or 13 characters of base32", text)
}

// OnlyDigits reports whether a text has digits and nothing else.
func OnlyDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
