package pebble

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cirrus-id/cirrus/snowflake"
)

// Space is a disk's free space and size, in bytes.
type Space struct{ Free, Size uint64 }

// space tracks the free space of the disk that holds a store. It is checked after writes
// of the mark, which happen in an idle store, too.
type space struct {
	fs  vfs.FS
	dir string
	log *slog.Logger

	last atomic.Pointer[Space] // nil: unknown to the file system
	// passed is how many of nearlyFull the free space was below at the last check, and
	// loggedAt the mark when that was last logged.
	passed   int
	loggedAt snowflake.Millis
}

// nearlyFull are percentages of free space. A warning is logged below each of them.
var nearlyFull = []uint64{10, 5, 3, 2, 1}

// warnSpaceEvery is how often the warning is repeated while the free space is low.
const warnSpaceEvery = 30 * time.Minute

// Space returns the space of the store's disk at the last write of the mark; false if
// the file system doesn't report it.
func (s *Store) Space() (Space, bool) {
	if last := s.space.last.Load(); last != nil {
		return *last, true
	}
	return Space{}, false
}

// check reads the disk's free space and logs a warning if it is low. It must not be
// called concurrently.
func (s *space) check(mark snowflake.Millis) {
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil || usage.TotalBytes == 0 {
		s.last.Store(nil) // not a failed write
		return
	}
	now := Space{Free: usage.AvailBytes, Size: usage.TotalBytes}
	s.last.Store(&now)
	passed := 0
	for _, percent := range nearlyFull {
		if now.Free < now.Size/100*percent {
			passed++
		}
	}
	if passed > s.passed || passed > 0 && mark >= s.loggedAt.Add(warnSpaceEvery) {
		s.loggedAt = mark
		s.log.Warn("the store's disk is nearly full", "free_bytes", now.Free,
			"total_bytes", now.Size)
	}
	s.passed = passed
}
