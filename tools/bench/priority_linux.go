package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// leastPriority is the niceness of a process that gets only what others leave.
const leastPriority = 19

// stepAside lowers the priority of this process to the least, for good: raising it
// again takes privileges. Threads that start later inherit it.
func stepAside() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("lowering the priority of this process: %w", err)
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		// the thread may have ended
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, id, leastPriority); err != nil &&
			err != syscall.ESRCH {
			return fmt.Errorf("lowering the priority of this process: %w", err)
		}
	}
	return nil
}
