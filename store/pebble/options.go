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

// formatVersion is the format of Pebble's database, apart from the format of keys and
// values. In this format the log says how far it was synced, so damage is told from a
// torn tail, except in the log's newest 32 KiB (S12). It may be raised, never lowered:
// Pebble converts older databases when it opens them.
const formatVersion = pebble.FormatTableFormatV6

// Options are the settings of a store. The zero value is for production.
type Options struct {
	// FS is the file system; nil: the operating system's. Tests use one that crashes
	// or fails.
	FS vfs.FS
	// Logger gets Pebble's messages, most of them at debug level; nil:
	// slog.Default().
	Logger *slog.Logger
	// Fatal ends the process after a failed write (S9). Its error says what to do. nil:
	// the error is logged and the process exits with 1. If Fatal returns, the goroutine
	// that called it blocks for ever, since Pebble would take a return for success. If
	// Fatal panics because the log failed, Commit panics, and the store can be closed;
	// any other panic ends the process. Fatal may be called from any goroutine, more
	// than once, and with Pebble's locks held, so it must not call the store.
	Fatal func(error)
	// Brief is for stores that are many, last for moments, and must do the same each
	// time, as in a simulation. Such a store takes little memory, shares a cache with
	// all other brief ones, and doesn't compact its tables, of which each start writes
	// one. So nothing happens in the background but what a start triggers. With each
	// start the store gets slower to open.
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

// database returns Pebble's options. A store is read once, from its first key to its
// last, and then written in synced batches of about 150 bytes that overwrite each other.
// So there is little to cache, and nothing that only speeds up reads may delay a write.
func (o Options) database(f *failure) (*pebble.Options, *failStopFS) {
	disk := &failStopFS{FS: o.FS, failure: f}
	p := &pebble.Options{
		FS:                 disk,
		FormatMajorVersion: formatVersion,
		Logger:             logger{o.Logger, f},
		EventListener:      events(o.Logger, f),
		CacheSize:          1 << 20,
		// 4 MiB of log are replayed in a moment and hold the writes of some 20,000
		// grants. A write waits only if a slow flush has let eight of them pile up,
		// or if compactions are far behind: a mark that is written too late costs
		// every lease.
		MemTableSize:                4 << 20,
		MemTableStopWritesThreshold: 8,
		L0StopWritesThreshold:       1000,
		DisableTableStats:           true, // they help with deletions, and nothing is deleted
		MaxManifestFileSize:         4 << 20,
		MaxOpenFiles:                256,
	}
	if o.Brief {
		p.Cache, p.MemTableSize, p.DisableAutomaticCompactions = briefCache(), 128<<10, true
	}
	if o.FS == vfs.Default {
		p.WithFSDefaults() // reports a slow disk
	}
	if o.tune != nil {
		o.tune(p)
	}
	return p, disk
}

// briefCache returns the block cache of all brief stores. Making one takes about as long
// as opening a store.
var briefCache = sync.OnceValue(func() *pebble.Cache { return pebble.NewCache(1 << 20) })

// events logs what operators need to know. Pebble retries a failed flush or compaction
// at once and for ever, until writes stall, so that counts as a failed write, too (S9).
func events(log *slog.Logger, f *failure) *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) { f.now(err) },
		DiskSlow: func(i pebble.DiskSlowInfo) {
			log.Warn("the store's disk is slow",
				"operation", i.String())
		},
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			log.Warn("the store delays writes",
				"reason", i.Reason)
		},
		WriteStallEnd: func() { log.Info("the store accepts writes again") },
	}
}

// logger logs Pebble's messages.
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

// Fatalf never returns. Pebble calls it after a failed sync of its log, and if it
// returned, Pebble would take the write for durable (S1, S9).
func (l logger) Fatalf(format string, args ...any) {
	l.failure.now(cause(format, args))
}
