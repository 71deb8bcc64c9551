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
	// ReasonNoFreeNodeID: every node ID of the pool is held or quarantined,
	// or promised to those who wait.
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
	// ReasonStoreFailed: a write failed; this server answers nothing more (S9).
	ReasonStoreFailed Reason = "STORE_FAILED"
)

// Refusal is the server's no: one sentence that says what is wrong and what
// to do.
type Refusal struct {
	Reason  Reason
	Message string
	// Field is the request's field that is malformed, with ReasonInvalid.
	Field string
	// ConfirmedBy is the request's field with which the same request is accepted
	// (S11); "" if there is none.
	ConfirmedBy string
	// RetryAfter is when asking again can help; 0: nobody knows, or never.
	RetryAfter time.Duration
	// Forgotten says that the request knows of a later grant than the store
	// does, so the store lost a write (S12): log it as an error. It is set
	// once for a node ID and epoch.
	Forgotten bool
	// MadeUp says that the request speaks of a grant that no store can have made
	// by now (S12): count it, and don't take it for a lost write.
	MadeUp bool
}

// Error gives the sentence.
func (r *Refusal) Error() string { return r.Message }

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func invalid(field, format string, args ...any) *Refusal {
	return &Refusal{Reason: ReasonInvalid, Field: field, Message: field + ": " + fmt.Sprintf(format, args...)}
}

// unconfirmed is invalid for what another field of the request can confirm.
func unconfirmed(by, field, format string, args ...any) *Refusal {
	r := invalid(field, format+", or confirm it with "+by, args...)
	r.ConfirmedBy = by
	return r
}
