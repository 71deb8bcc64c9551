//go:build !linux && !darwin

package steady

import "time"

// bootTime reports that this system has no clock that counts suspend, so the steady
// clock is Go's monotonic one. CountsSuspend says what that costs.
func bootTime() (time.Duration, bool) { return 0, false }
