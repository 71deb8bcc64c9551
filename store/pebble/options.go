package pebble

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatVersion is the database's own format, apart from the format of keys
// and values. It is recent enough for the log to say how far it was synced, so
// damage is told from a torn tail, except in the log's newest 32 KiB (S12). It
// may be raised, never lowered: Pebble takes older databases along when it
// opens them.
const formatVersion = pebble.FormatTableFormatV6

// Options are what a store can be told. The zero value is for production.
type Options struct {
	// FS is the file system; nil: the operating system's. Tests pass one
	// that crashes or fails.
	FS vfs.FS
	// Logger gets what Pebble has to say, most of it at debug level; nil:
	// slog.Default().
	Logger *slog.Logger
	// Fatal ends the process after a failed write (S9), with a sentence that
	// says what to do; nil: it is logged and the process exits with 1. If it
	// returns, the goroutine that called it stands still for ever, since
	// Pebble would take a return for success. If it panics, so does Commit where
	// it was the log that failed, and the store can be closed; anywhere else a
	// panic is the end of the process. It may be called from any goroutine, more
	// than once, and with Pebble's locks held: so it must not call the store.
	Fatal func(error)
	// Brief is for stores that live for moments, are many, and must do the same
	// each time, as in a simulation: it takes little memory, shares a cache with
	// all others that are brief, and leaves the tables as they were written, one
	// a start, so that nothing happens in the background but what a start
	// begins. A store that lives for long would get slower to open.
	Brief bool

	// tune changes Pebble's options in this package's tests.
	tune func(*pebble.Options)
}

// withDefaults fills in what the zero value stands for.
func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Fatal == nil {
		log := o.Logger
		o.Fatal = func(err error) {
			log.Error("the store failed; the process ends", "error", err)
			os.Exit(1)
		}
	}
	return o
}

// database returns Pebble's options. The store is read once, from its first
// key to its last, and then written in synced batches of about 150 bytes that
// overwrite each other: so there is little to cache, and nothing that reads
// would gain from should ever hold up a write.
func (o Options) database(f *failure) (*pebble.Options, *failStopFS) {
	disk := &failStopFS{FS: o.FS, failure: f}
	p := &pebble.Options{
		FS:                 disk,
		FormatMajorVersion: formatVersion,
		Logger:             logger{o.Logger, f},
		EventListener:      events(o.Logger, f),
		CacheSize:          1 << 20,
		// 4 MiB of log are replayed in a moment and hold the writes of some
		// 20,000 grants. A slow flush may pile up eight of them, and
		// compactions may fall far behind, before a write has to wait: a
		// mark that is not written in time costs every lease.
		MemTableSize:                4 << 20,
		MemTableStopWritesThreshold: 8,
		L0StopWritesThreshold:       1000,
		DisableTableStats:           true, // they serve deletions; nothing is deleted
		MaxManifestFileSize:         4 << 20,
		MaxOpenFiles:                256,
	}
	if o.Brief {
		p.Cache, p.MemTableSize, p.DisableAutomaticCompactions = briefCache(), 128<<10, true
	}
	if o.FS == vfs.Default {
		p.WithFSDefaults() // notices a slow disk
	}
	if o.tune != nil {
		o.tune(p)
	}
	return p, disk
}

// briefCache is the block cache of all stores that are brief. To make one takes
// about as long as to open a store.
var briefCache = sync.OnceValue(func() *pebble.Cache { return pebble.NewCache(1 << 20) })

// events reports what an operator should know. A flush or a compaction that
// fails is tried again at once and for ever, until writes stall: that is a
// failed write, too (S9).
func events(log *slog.Logger, f *failure) *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) { f.now(err) },
		DiskSlow:        func(i pebble.DiskSlowInfo) { log.Warn("the store's disk is slow", "operation", i.String()) },
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) { log.Warn("the store holds up writes", "reason", i.Reason) },
		WriteStallEnd:   func() { log.Info("the store takes writes again") },
	}
}

// logger passes Pebble's messages on.
type logger struct {
	log     *slog.Logger
	failure *failure
}

func (l logger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("pebble: " + fmt.Sprintf(format, args...))
	}
}

func (l logger) Errorf(format string, args ...any) {
	l.log.Error("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf never returns: after a failed sync of its log Pebble calls it, and
// were it to return, the write would be taken for durable (S1, S9).
func (l logger) Fatalf(format string, args ...any) {
	l.failure.now(cause(format, args))
}
