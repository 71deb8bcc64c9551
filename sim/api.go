package sim

import (
	"io"

	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/oracle"
	"github.com/cirrus-id/cirrus/sim/plan"
)

// What the packages below define and a user of this one meets: records of a trace,
// promises, and choices.

type (
	// Record is one line of a trace.
	Record = event.Record
	// RecordKind says what a Record tells of.
	RecordKind = event.RecordKind
	// Promise names what a run is checked for.
	Promise = oracle.Promise
	// Config says which world to run.
	Config = plan.Config
	// Profile says how bad a world is.
	Profile = plan.Profile
	// Kind is a kind of fault; package plan lists them.
	Kind = plan.Kind
	// Choices is where everything that is left to chance comes from.
	Choices = kernel.Choices
	// Stream is a sequence of choices.
	Stream = kernel.Stream
	// Seed is the usual source of choices.
	Seed = kernel.Seed
)

// The profiles; package plan says what each is.
const (
	Calm     = plan.Calm
	Envelope = plan.Envelope
	Hostile  = plan.Hostile
	Vows     = plan.Vows
)

// Profiles returns all profiles.
func Profiles() []Profile { return plan.Profiles() }

// Kinds returns all kinds of faults.
func Kinds() []Kind { return plan.Kinds() }

// The kinds of records; package event says what each tells of.
const (
	RecordStart    = event.RecordStart
	RecordExit     = event.RecordExit
	RecordCrash    = event.RecordCrash
	RecordSend     = event.RecordSend
	RecordArrive   = event.RecordArrive
	RecordReply    = event.RecordReply
	RecordAnswer   = event.RecordAnswer
	RecordDrop     = event.RecordDrop
	RecordGrant    = event.RecordGrant
	RecordDurable  = event.RecordDurable
	RecordEnd      = event.RecordEnd
	RecordHold     = event.RecordHold
	RecordExtend   = event.RecordExtend
	RecordLapse    = event.RecordLapse
	RecordMint     = event.RecordMint
	RecordDeadline = event.RecordDeadline
	RecordSettings = event.RecordSettings
	RecordPause    = event.RecordPause
	RecordClock    = event.RecordClock
	RecordNetwork  = event.RecordNetwork
	RecordDisk     = event.RecordDisk
	RecordOperate  = event.RecordOperate
	RecordHeal     = event.RecordHeal
	RecordTerm     = event.RecordTerm
	RecordDeposed  = event.RecordDeposed
	RecordLog      = event.RecordLog
	RecordViolated = event.RecordViolated
)

// The promises; Promise.Means says what each is.
const (
	PromiseExclusion  = oracle.PromiseExclusion
	PromiseUniqueness = oracle.PromiseUniqueness
	PromiseWindow     = oracle.PromiseWindow
	PromiseEpochs     = oracle.PromiseEpochs
	PromiseFencing    = oracle.PromiseFencing
	PromiseLiveness   = oracle.PromiseLiveness
	PromiseDurable    = oracle.PromiseDurable
	PromiseQuarantine = oracle.PromiseQuarantine
	PromiseLine       = oracle.PromiseLine
	PromiseSuspicion  = oracle.PromiseSuspicion
	PromiseStride     = oracle.PromiseStride
	PromiseHeartbeat  = oracle.PromiseHeartbeat
	PromiseSilence    = oracle.PromiseSilence
	PromiseFailStop   = oracle.PromiseFailStop
	PromiseTimeout    = oracle.PromiseTimeout
	PromiseMark       = oracle.PromiseMark
	PromiseState      = oracle.PromiseState
	PromiseAnswer     = oracle.PromiseAnswer
	PromiseLog        = oracle.PromiseLog
	PromiseAlarm      = oracle.PromiseAlarm
	PromiseLostWrites = oracle.PromiseLostWrites
	PromiseOneLease   = oracle.PromiseOneLease
	PromiseRecover    = oracle.PromiseRecover
	PromiseInstance   = oracle.PromiseInstance
	PromiseTerm       = oracle.PromiseTerm
	PromiseConfirm    = oracle.PromiseConfirm
	PromiseForward    = oracle.PromiseForward
	PromiseHistory    = oracle.PromiseHistory
	PromiseCanary     = oracle.PromiseCanary
	PromiseNoPanic    = oracle.PromiseNoPanic
)

// Promises returns all promises.
func Promises() []Promise { return oracle.Promises() }

// WriteNDJSON writes a trace, one record a line.
func WriteNDJSON(w io.Writer, trace []Record) error { return event.WriteNDJSON(w, trace) }
