package sim

import "github.com/cirrus-id/cirrus/fencing"

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
// where they were ahead of its clock. With that another story begins, in which
// epochs may be below those of the one before.
func (c *checker) excuse() {
	begun := c.story
	for _, p := range c.pools {
		if c.ahead(p.highest) {
			c.story = begun + 1
			p.excused, p.nodes = p.highest, map[uint64]int{}
			for k, n := range c.nodes {
				if k.pool == string(p.Name) {
					n.sent = 0
				}
			}
		}
	}
}

// base looks at the base of a start or a term, which rises by a second's epochs
// over the one that it has loaded and stays (S2): so epochs rise even where the
// store has lost a grant.
func (c *checker) base(t *term, meta *fencing.Meta) {
	switch least := t.meta.FirstEpoch + epochsPerSecond; {
	case meta == nil || t.stored == 0: // it has loaded nothing: it makes the store
	case t.base == 0 && meta.FirstEpoch < least:
		c.w.violate(PromiseEpochs, "%s begins with base %d, and must not below %d", t.server.name(), meta.FirstEpoch, least)
	case t.base == 0:
		t.base = meta.FirstEpoch
	case meta.FirstEpoch != t.base:
		c.w.violate(PromiseEpochs, "%s changes its base from %d to %d", t.server.name(), t.base, meta.FirstEpoch)
	}
}
