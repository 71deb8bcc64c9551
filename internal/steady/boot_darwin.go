package steady

import "golang.org/x/sys/unix"

// suspendClock counts the time that the machine is suspended (see clock_gettime(3) of
// macOS). mach_absolute_time, from which Go makes its monotonic readings, does not.
// Unlike CLOCK_MONOTONIC of macOS, suspendClock is never adjusted.
const suspendClock = unix.CLOCK_MONOTONIC_RAW
