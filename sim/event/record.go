package event

import (
	"bufio"
	"encoding/json"
	"io"
	"time"
)

// RecordKind says what a Record tells of.
type RecordKind string

// The kinds of records. Message numbers join what was sent with what became
// of it; Until says when what begins here will end.
const (
	RecordStart  RecordKind = "start"  // a process starts on Machine
	RecordExit   RecordKind = "exit"   // a process ends in an orderly way
	RecordCrash  RecordKind = "crash"  // a process is killed
	RecordSend   RecordKind = "send"   // a request leaves Machine for Peer
	RecordArrive RecordKind = "arrive" // a request reaches Machine from Peer
	// an answer leaves Machine for Peer; with a lease, Until and RestUntil
	RecordReply  RecordKind = "reply"
	RecordAnswer RecordKind = "answer" // an answer reaches Machine from Peer
	RecordDrop   RecordKind = "drop"   // a message from Machine to Peer is lost
	// the server decides on a grant: Node, Epoch, Floor, Ceiling
	RecordGrant   RecordKind = "grant"
	RecordDurable RecordKind = "durable" // a write is acknowledged by the store
	RecordEnd     RecordKind = "end"     // a record is noted as ended, released or revoked
	// the app is told that it holds Node, until Until at the earliest
	RecordHold   RecordKind = "hold"
	RecordExtend RecordKind = "extend" // a heartbeat moved the deadline to Until
	// the app is told that its lease expired, is lost or was given back
	RecordLapse RecordKind = "lapse"
	// IDs were minted: Floor and Ceiling are the lowest and highest timestamp, Count how many
	RecordMint RecordKind = "mint"
	// the server reckons anew until when it waits for the holder of Node: Until, RestUntil
	RecordDeadline RecordKind = "deadline"
	// a server knows these of a Pool: TTL, MaxTTL, Quarantine, Stride
	RecordSettings RecordKind = "settings"
	RecordPause    RecordKind = "pause"    // Machine stands still until Until
	RecordClock    RecordKind = "clock"    // a clock was set, or changed its rate
	RecordNetwork  RecordKind = "network"  // a cut begins, until Until
	RecordDisk     RecordKind = "disk"     // the disk does something unusual
	RecordOperate  RecordKind = "operate"  // the operator does something
	RecordHeal     RecordKind = "heal"     // faults have stopped
	RecordTerm     RecordKind = "term"     // etcd begins a term of Machine's: it leads
	RecordDeposed  RecordKind = "deposed"  // Machine's term is over, whether it knows it or not
	RecordLog      RecordKind = "log"      // the server logs a warning or an error
	RecordViolated RecordKind = "violated" // a promise is broken
)

// Record is one line of a trace. What doesn't apply is left at its zero value,
// but for Node, which is −1 then.
type Record struct {
	// N is the number of the event, At the true time since the run began.
	N    int           `json:"n"`
	At   time.Duration `json:"at"`
	Kind RecordKind    `json:"kind"`
	// Machine is where it happens: "server", or "replica-1" and so on and
	// "etcd", "app-0" and so on, "operator",
	// or "world" for what concerns all. Process counts the machine's.
	Machine string `json:"machine"`
	Process int    `json:"process,omitempty"`
	// Peer is the other end of a message, Message its number: the request and
	// all answers to it have one.
	Peer    string `json:"peer,omitempty"`
	Message int    `json:"message,omitempty"`
	// Call is acquire, heartbeat, release or the name of an admin's RPC.
	Call string `json:"call,omitempty"`

	Pool  string `json:"pool,omitempty"`
	Node  int    `json:"node"`
	Epoch uint64 `json:"epoch,omitempty"`
	// Floor and Ceiling are the window, in Unix ms.
	Floor   int64 `json:"floor,omitempty"`
	Ceiling int64 `json:"ceiling,omitempty"`
	Count   int   `json:"count,omitempty"`
	// Until is the true time at which what begins here ends, as far as is
	// known now.
	Until time.Duration `json:"until,omitempty"`
	// RestUntil is the true time at which the quarantine ends that follows the
	// deadline Until.
	RestUntil time.Duration `json:"restUntil,omitempty"`
	// TTL is a grant's, or a pool's, as are the others; Stride is the server's.
	TTL        time.Duration `json:"ttl,omitempty"`
	MaxTTL     time.Duration `json:"maxTTL,omitempty"`
	Quarantine time.Duration `json:"quarantine,omitempty"`
	Stride     time.Duration `json:"stride,omitempty"`
	// Promise is the one that is broken.
	Promise string `json:"promise,omitempty"`
	// Text says it for people.
	Text string `json:"text,omitempty"`
}

// WriteNDJSON writes a trace, one record a line.
func WriteNDJSON(w io.Writer, trace []Record) error {
	buf := bufio.NewWriter(w)
	enc := json.NewEncoder(buf)
	for i := range trace {
		if err := enc.Encode(&trace[i]); err != nil {
			return err
		}
	}
	return buf.Flush()
}
