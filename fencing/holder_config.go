package fencing

import "time"

// How a holder paces its calls.
const (
	// MaxWait is the longest that an Acquire may queue for a free node ID.
	MaxWait = time.Minute
	// MaxBackoff bounds the time between a heartbeat or release that failed and
	// the next try (C3), and that between two Acquires unless the service names
	// a longer one.
	MaxBackoff = 2 * time.Second
	// MaxRetryAfter bounds how long a holder without a lease waits because the
	// service said so: something may come free earlier.
	MaxRetryAfter = time.Minute
	// MaxTry is the longest that one try may take, on top of an Acquire's wait.
	// For a heartbeat it is a third of the TTL, if that is less. Several
	// addresses share it.
	MaxTry = 5 * time.Second
	// MaxRelease is how long a Release that fails is tried again. After that
	// the lease runs out by itself.
	MaxRelease = 30 * time.Second

	firstBackoff = 100 * time.Millisecond
)

// Jitter is a random number, evenly distributed, that spreads out in time what
// many holders do.
type Jitter uint16

// of gives an even share of d: from 0 up to, but not including, d.
func (j Jitter) of(d time.Duration) time.Duration { return d >> 16 * time.Duration(j) }

// HolderConfig is what a holder asks for.
type HolderConfig struct {
	// Pool is the pool's name. Empty: DefaultPool.
	Pool PoolName
	// App is what the app calls itself: 1 to MaxAppID bytes of UTF-8.
	App AppID
	// TTL is the lease's: MinTTL to MaxDuration, and at most the pool's max_ttl.
	// 0: the pool's.
	TTL time.Duration
	// Wait is how long the service may queue an Acquire for a free node ID: 0 to
	// MaxWait.
	Wait time.Duration
	// NoReacquire: a lost lease ends the holder; it doesn't ask for another.
	NoReacquire bool
}

// Validate says what is wrong with the config, if anything. Whether the pool
// exists and allows the TTL is for the service to say.
func (c HolderConfig) Validate() error {
	if c.Pool != "" {
		if r := c.Pool.Validate(); r != nil {
			return r
		}
	}
	if r := c.App.Validate(); r != nil {
		return r
	}
	switch {
	case c.TTL != 0 && (c.TTL < MinTTL || c.TTL > MaxDuration):
		return invalid("ttl", "%v is out of range: give %v to %v, or leave it out", c.TTL, MinTTL,
			MaxDuration)
	case c.Wait < 0 || c.Wait > MaxWait:
		return invalid("wait", "%v is out of range: give 0 to %v", c.Wait, MaxWait)
	}
	return nil
}
