package steady

import "golang.org/x/sys/unix"

// suspendClock counts the time that the machine is suspended; CLOCK_MONOTONIC does
// not.
const suspendClock = unix.CLOCK_BOOTTIME
