package steady

import "golang.org/x/sys/unix"

// suspendClock goes on while the machine sleeps, as clock_gettime(3) of macOS
// says; mach_absolute_time, which Go's monotonic reading is made of, does not.
// Unlike CLOCK_MONOTONIC there it is never adjusted.
const suspendClock = unix.CLOCK_MONOTONIC_RAW
