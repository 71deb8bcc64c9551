package sim

// A start's base rises by a second's epochs at least (S2), so a store that is
// started more often than once a second has epochs that are ahead of its clock.
// If it is lost then, no other store can know of them: docs/safety.md says so.

// epochsPerSecond and ownGrants are what a base leaves room for, and more than a
// life grants.
const (
	epochsPerSecond = 1 << 20
	ownGrants       = 4096
)

// ahead says whether an epoch is above those that belong to the latest server
// time at which anything was promised.
func (c *checker) ahead(epoch uint64) bool {
	return epoch > uint64(c.promisedAt)*epochsPerSecond/1000+epochsPerSecond+ownGrants
}

// excuse takes the epochs of a store that is gone for unknown to the next one,
// where they were ahead of its clock.
func (c *checker) excuse() {
	for _, p := range c.pools {
		if c.ahead(p.highest) {
			p.excused, p.nodes = p.highest, map[uint64]int{}
		}
	}
}
