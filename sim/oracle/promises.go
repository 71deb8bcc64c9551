package oracle

// Promise names what a run is checked for, in the words of docs/design.md.
type Promise string

// The promises. What each means is in promiseMeans, and what breaks it in
// docs/simulation.md; a test sees that neither leaves one out.
const (
	PromiseExclusion  Promise = "P1 exclusion"
	PromiseUniqueness Promise = "P2 uniqueness"
	PromiseWindow     Promise = "P2 window"
	PromiseEpochs     Promise = "P3 epochs"
	PromiseFencing    Promise = "P3 fencing"
	PromiseLiveness   Promise = "P4 liveness"
	PromiseDurable    Promise = "S1 durable"
	PromiseQuarantine Promise = "S2 quarantine"
	PromiseLine       Promise = "S2 line"
	PromiseSuspicion  Promise = "S7 suspicion"
	PromiseStride     Promise = "S8 stride"
	PromiseHeartbeat  Promise = "S3 heartbeat"
	PromiseSilence    Promise = "S5 silence"
	PromiseFailStop   Promise = "S9 fail-stop"
	PromiseTimeout    Promise = "S9 timeout"
	PromiseMark       Promise = "S10 mark"
	PromiseState      Promise = "server state"
	PromiseAnswer     Promise = "C5 answer"
	PromiseLog        Promise = "S14 log"
	PromiseAlarm      Promise = "S12 alarm"
	PromiseLostWrites Promise = "S13 lost writes"
	PromiseOneLease   Promise = "S2 one lease"
	PromiseRecover    Promise = "S7 recover"
	PromiseInstance   Promise = "C1 instance"
	PromiseTerm       Promise = "S10 term"
	PromiseConfirm    Promise = "S10 confirm"
	PromiseForward    Promise = "S10 forward"
	PromiseHistory    Promise = "linearizable history"
	PromiseCanary     Promise = "canary"
	PromiseNoPanic    Promise = "no panic"
)

// promiseMeans says in a sentence what each promise is, in the order of the
// documentation.
var promiseMeans = []struct {
	promise Promise
	means   string
}{
	{PromiseExclusion, "At no instant do two live holders share a node ID."},
	{PromiseUniqueness, "No two IDs that were minted are equal."},
	{PromiseWindow, "IDs lie in the windows that their minters were told, and the windows of a node ID don't touch."},
	{PromiseEpochs, "Each grant has a higher epoch than all before it."},
	{PromiseFencing, "Whoever comes with an old epoch is turned away."},
	{PromiseLiveness, "Once faults stop, what has to happen happens in time."},
	{PromiseDurable, "What was told is on the disk, and what is on the disk stays there."},
	{PromiseQuarantine, "An expired node ID rests before somebody else gets it."},
	{PromiseLine, "Nobody gets a node ID while another, who came before, stands in line."},
	{PromiseSuspicion, "A suspicious pool is not opened too early."},
	{PromiseStride, "A stride becomes shorter only once the longer one has passed."},
	{PromiseHeartbeat, "A holder is not told that it lost a lease that it has."},
	{PromiseSilence, "A silence note says what was promised under a lease, and nothing is promised while it stands."},
	{PromiseFailStop, "After a write that failed, the server promises nothing more."},
	{PromiseTimeout, "A request is answered in time, however long the store takes."},
	{PromiseMark, "Nothing is promised beyond the mark that is on the disk."},
	{PromiseState, "The server's own books are in order."},
	{PromiseAnswer, "Only the service's own words end a lease or a holder."},
	{PromiseLog, "Nothing is logged under the lock that heartbeats need."},
	{PromiseAlarm, "A holder that knows of a lease which the store has lost is noticed."},
	{PromiseLostWrites, "A store that has lost acknowledged writes is not served."},
	{PromiseOneLease, "An instance has no more than one lease of a pool."},
	{PromiseRecover, "What recover leaves behind lies above all that was ever promised."},
	{PromiseInstance, "Each lease has an instance ID of its own."},
	{PromiseTerm, "Only the last term writes, each write is sent once, and no takeover that lands late ends a term."},
	{PromiseConfirm, "What only a Confirm can tell was true after the request had arrived."},
	{PromiseForward, "A replica that doesn't lead answers with the leader's words."},
	{PromiseHistory, "The answers about a node ID could have been given one after the other."},
	{PromiseCanary, "None: the violation was asked for."},
	{PromiseNoPanic, "The service, the client and the simulator never panic."},
}

// Promises returns all of them.
func Promises() []Promise {
	all := make([]Promise, len(promiseMeans))
	for i, p := range promiseMeans {
		all[i] = p.promise
	}
	return all
}

// Means returns a sentence that says what the promise is.
func (p Promise) Means() string {
	for _, known := range promiseMeans {
		if known.promise == p {
			return known.means
		}
	}
	return ""
}

// Broken says that it is broken.
func (p Promise) Broken() string {
	if p == PromiseNoPanic {
		return "the run panicked"
	}
	return string(p) + " is broken"
}
