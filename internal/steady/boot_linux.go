package steady

import "golang.org/x/sys/unix"

// suspendClock goes on while the machine is suspended; CLOCK_MONOTONIC does not.
const suspendClock = unix.CLOCK_BOOTTIME
