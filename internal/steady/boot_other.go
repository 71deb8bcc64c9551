//go:build !linux && !darwin

package steady

import "time"

// bootTime says that there is no clock here that counts suspend, so the steady
// clock is Go's monotonic one. What that costs: see CountsSuspend.
func bootTime() (time.Duration, bool) { return 0, false }
