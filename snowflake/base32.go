package snowflake

import "fmt"

// crockford is Douglas Crockford's base32 alphabet. It is in ASCII order and leaves
// out the letters that look like digits (I, L, O), and U, which could form words.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// base32Len is the number of characters: they hold 65 bits, two more than an ID.
const base32Len = 13

// Base32 returns the ID in Crockford's base32: 13 characters, padded with zeros,
// so that the texts sort as the IDs do.
func (id ID) Base32() string {
	var text [base32Len]byte
	rest := uint64(id)
	for i := base32Len - 1; i >= 0; i-- {
		text[i] = crockford[rest&31]
		rest >>= 5
	}
	return string(text[:])
}

// ParseBase32 reads an ID as Base32 writes it. People copy such texts by hand, so
// it also accepts lower case, I and L for 1, and O for 0.
func ParseBase32(s string) (ID, error) {
	if len(s) != base32Len {
		return 0, fmt.Errorf("base32 ID %s has %d characters: give all 13, leading zeros too",
			quote(s), len(s))
	}
	var id uint64
	for i := range len(s) {
		digit := crockfordDigit(s[i])
		if digit < 0 {
			return 0, fmt.Errorf("base32 ID %s: %q at byte %d is not in Crockford's alphabet",
				quote(s), s[i], i)
		}
		id = id<<5 | uint64(digit)
	}
	// An ID uses three of the first character's five bits.
	if crockfordDigit(s[0]) > 7 {
		return 0, fmt.Errorf(
			"base32 ID %s is above 7ZZZZZZZZZZZZ, which is 2^63−1: no ID is that large", quote(s))
	}
	return ID(id), nil
}

// crockfordDigit returns the value of a character, or −1 if it has none.
func crockfordDigit(c byte) int {
	if c >= 'a' && c <= 'z' {
		c -= 'a' - 'A'
	}
	switch c {
	case 'I', 'L':
		return 1
	case 'O':
		return 0
	}
	for i := range len(crockford) {
		if crockford[i] == c {
			return i
		}
	}
	return -1
}
