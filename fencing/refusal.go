package fencing

import (
	"fmt"
	"time"
)

// Reason names why the server refuses, in the words that go over the wire.
type Reason string

// The reasons of a Refusal.
const (
	// ReasonInvalid: a field is malformed; Refusal.Field names it.
	ReasonInvalid Reason = "INVALID_FIELD"
	// ReasonPoolNotFound: no such pool.
	ReasonPoolNotFound Reason = "POOL_NOT_FOUND"
	// ReasonPoolExists: CreatePool of an existing name with other settings.
	ReasonPoolExists Reason = "POOL_EXISTS"
	// ReasonNoFreeNodeID: every node ID of the pool is held, quarantined, or for
	// those in the queue.
	ReasonNoFreeNodeID Reason = "NO_FREE_NODE_ID"
	// ReasonQueueFull: too many wait for a free node ID of this pool.
	ReasonQueueFull Reason = "QUEUE_FULL"
	// ReasonLeaseLost: the lease is not, or no longer, the caller's.
	ReasonLeaseLost Reason = "LEASE_LOST"
	// ReasonForbidden: a pool, or a change of one, that S11 forbids.
	ReasonForbidden Reason = "POOL_FORBIDDEN"
	// ReasonTooManyPools: the service has as many pools as it may.
	ReasonTooManyPools Reason = "TOO_MANY_POOLS"
	// ReasonLayoutExhausted: the layout's last timestamp is too near.
	ReasonLayoutExhausted Reason = "LAYOUT_EXHAUSTED"
	// ReasonNotOpened: the pool does not grant yet (S7).
	ReasonNotOpened Reason = "POOL_NOT_OPENED"
	// ReasonStoreFailed: a write failed, so this server promises nothing more (S9).
	ReasonStoreFailed Reason = "STORE_FAILED"
)

// Refusal is the error of a request that the server refuses. Its Message says what
// is wrong and what to do.
type Refusal struct {
	Reason  Reason
	Message string
	// Field is the request's field that is malformed, with ReasonInvalid.
	Field string
	// ConfirmedBy is the request's field with which the same request is accepted
	// (S11); "" if there is none.
	ConfirmedBy string
	// RetryAfter is the time after which asking again can help; 0 if that is unknown
	// or never.
	RetryAfter time.Duration
	// Forgotten says that the request names a later grant than the store has, so the
	// store lost a write (S12): log it as an error. It is set once for each node ID
	// and epoch.
	Forgotten bool
	// MadeUp says that the request names a grant that no store can have made by now
	// (S12): count it, but do not treat it as a lost write.
	MadeUp bool
}

// Error returns Message.
func (r *Refusal) Error() string { return r.Message }

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func invalid(field, format string, args ...any) *Refusal {
	return &Refusal{Reason: ReasonInvalid, Field: field,
		Message: field + ": " + fmt.Sprintf(format, args...)}
}

// unconfirmed returns the refusal of a field's value that the field by can confirm.
func unconfirmed(by, field, format string, args ...any) *Refusal {
	r := invalid(field, format+", or confirm it with "+by, args...)
	r.ConfirmedBy = by
	return r
}
