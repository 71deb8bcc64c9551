package client

import "github.com/cirrus-id/cirrus/internal/reach"

// WithLookup sets what finds the IPs of a host.
func WithLookup(l reach.Lookup) Option { return func(c *config) { c.lookup = l } }
