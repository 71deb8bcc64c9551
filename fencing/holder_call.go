package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// CallKind says which RPC a Call is.
type CallKind uint8

// The calls that a holder makes.
const (
	CallAcquire CallKind = iota + 1
	CallHeartbeat
	CallRelease
)

// String gives the kind in lower case.
func (k CallKind) String() string {
	switch k {
	case CallAcquire:
		return "acquire"
	case CallHeartbeat:
		return "heartbeat"
	case CallRelease:
		return "release"
	}
	return "unknown"
}

// Call is a request to the service. It is told apart by its value: no two
// calls of one holder are equal.
type Call struct {
	Kind CallKind
	// SentAt is the steady time of the step that asked for the call, so it was
	// read before the request was sent: deadlines count from here (C2).
	SentAt   time.Duration
	Pool     PoolName
	Instance InstanceID
	// App, TTL (0: the pool's) and Wait are Acquire's.
	App  AppID
	TTL  time.Duration
	Wait time.Duration
	// Node and Epoch name the lease of a Heartbeat or Release.
	Node  snowflake.NodeID
	Epoch Epoch
	// Last is Release's last timestamp used; 0: not said.
	Last snowflake.Millis
}

// Verdict sums up how a call was answered.
type Verdict uint8

// The verdicts.
const (
	// AnswerGood: it was carried out. Answer.Lease is set, but for a Release.
	AnswerGood Verdict = iota + 1
	// AnswerLost: LEASE_LOST. Definite.
	AnswerLost
	// AnswerRefused: asking again is of no use; see Holder. An Acquire takes it
	// as definite, a Heartbeat does not.
	AnswerRefused
	// AnswerFailed: it may have been carried out or not. Ask again, not before
	// Answer.RetryAfter.
	AnswerFailed
)

// String gives the verdict in lower case.
func (v Verdict) String() string {
	switch v {
	case AnswerGood:
		return "good"
	case AnswerLost:
		return "lost"
	case AnswerRefused:
		return "refused"
	case AnswerFailed:
		return "failed"
	}
	return "unknown"
}

// Answer is what became of a call.
type Answer struct {
	// Call is the call that is answered, as it was asked for.
	Call    Call
	Verdict Verdict
	// Lease is what a good Acquire or Heartbeat brought.
	Lease Lease
	// RetryAfter is RetryInfo's delay; 0: none was given.
	RetryAfter time.Duration
	// Elsewhere: the address that was asked doesn't serve, or nobody knows: the
	// next try is another one's, if there are several. False where the answer is
	// that of a service that works, whatever it says.
	Elsewhere bool
}

// ActionKind says what an Action is.
type ActionKind uint8

// What a holder asks of its shell.
const (
	// ActSend: send Action.Call; its outcome goes to Answered.
	ActSend ActionKind = iota + 1
	// ActCancel: nobody waits for the call under way any more; free what it
	// holds. An answer that comes all the same may still go to Answered.
	ActCancel
	// ActAsk: make a fresh instance ID (C1) and call Acquire.
	ActAsk
	// ActBegin: begin a new generator state for Action.Lease (G4).
	ActBegin
	// ActExtend: tell the generator Action.Lease's new ceiling and server time,
	// and the new deadline.
	ActExtend
	// ActStop: stop minting under Action.Lease, for good, before any later
	// action is carried out. What was used last goes to Stopped.
	ActStop
	// ActTell: tell the app of Action.Change.
	ActTell
)

// String gives the kind in lower case.
func (k ActionKind) String() string {
	switch k {
	case ActSend:
		return "send"
	case ActCancel:
		return "cancel"
	case ActAsk:
		return "ask"
	case ActBegin:
		return "begin"
	case ActExtend:
		return "extend"
	case ActStop:
		return "stop"
	case ActTell:
		return "tell"
	}
	return "unknown"
}

// Action is one thing to do. Those of one step are to be done in their order.
type Action struct {
	Kind ActionKind
	// Call is what to send.
	Call Call
	// Lease is what to begin, extend, stop or tell of, with the highest ceiling
	// promised so far.
	Lease Lease
	// Deadline is the steady time at which the lease stops being live (C4).
	Deadline time.Duration
	// SentAt is when the call was sent whose answer brought Lease.ServerTime;
	// with begin and extend.
	SentAt time.Duration
	// Change is what to tell.
	Change Change
}

// Change is what an app is told about its lease.
type Change uint8

// The changes.
const (
	// ChangeHeld: the first lease is held and live.
	ChangeHeld Change = iota + 1
	// ChangeExpired: the deadline passed; no IDs until there is news (C4).
	ChangeExpired
	// ChangeRevived: a late heartbeat was good: live again, same epoch (C4).
	ChangeRevived
	// ChangeLost: the lease is not ours any more (C5).
	ChangeLost
	// ChangeReacquired: a new lease is held and live, after a loss.
	ChangeReacquired
	// ChangeReleased: the app gave the lease back; the holder is over.
	ChangeReleased
	// ChangeRefused: Acquire was refused for good; the holder is over.
	ChangeRefused
)

// String gives the change in lower case.
func (c Change) String() string {
	switch c {
	case ChangeHeld:
		return "held"
	case ChangeExpired:
		return "expired"
	case ChangeRevived:
		return "revived"
	case ChangeLost:
		return "lost"
	case ChangeReacquired:
		return "reacquired"
	case ChangeReleased:
		return "released"
	case ChangeRefused:
		return "refused"
	}
	return "unknown"
}
