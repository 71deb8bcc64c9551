//go:build linux || darwin

package steady

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime reads the clock that counts suspend. It fails only if a sandbox forbids the
// call.
func bootTime() (time.Duration, bool) {
	var ts unix.Timespec
	if err := unix.ClockGettime(suspendClock, &ts); err != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}
