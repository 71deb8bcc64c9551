package explore

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// remembered are the fields of all types that a server, a holder, a write or an answer
// consists of.
var remembered = map[string]string{
	"Answer":     "Call Verdict Lease RetryAfter Elsewhere",
	"Batch":      "Meta Pools Records",
	"Call":       "Kind SentAt Pool Instance App TTL Wait Node Epoch Last",
	"GrantState": "Node Pending",
	"Holder": "cfg phase instance lease deadline live held call inFlight giveUp due " +
		"failures round last releaseBy",
	"HolderConfig": "Pool App TTL Wait NoReacquire",
	"HolderState": "Config Phase Instance Lease Deadline Live Held Call InFlight GiveUp " +
		"Due Failures Round Last ReleaseBy",
	"Layout":       "Origin TimestampBits NodeBits SequenceBits",
	"Lease":        "Pool Node Epoch App TTL ServerTime Floor Ceiling Layout",
	"LeaseRef":     "Pool Node Epoch Instance",
	"MarkState":    "Stride Configured Longest Since Sent Holds Writing",
	"Meta":         "Mark Stride CreatedAt FirstEpoch Vouched SuspectFor ID",
	"NodeState":    "Record Deadline Due NoteAt Part Cooling ByInstance ByApp Pending",
	"PendingState": "Kind From Deadline TTL Instance",
	"PlaceState":   "Instance Requests",
	"Pool": "Name Layout First Last TTL MaxTTL LongestTTL Quarantine Unsafe Opened " +
		"CreatedAt",
	"PoolState": "Pool Highest Loaded Since Unsaved Watched EventsLeft Fresh Lags " +
		"Sweeping Sweep Nodes Grants Free Unnoted Leaving Alarms Queue Expiring " +
		"Resting Cooling",
	"Record":     "Pool Node Epoch App Instance TTL Status Floor Ceiling Silence",
	"RoundState": "Addresses Tried Works After",
	"Server": "time meta mark pools changing shortestTTL failed portion spare " +
		"lastTicket events lastNoted notesLeft",
	"ServerState": "ServerTime Rest Steady Meta Mark Changing Pools ShortestTTL Failed " +
		"LastNoted NotesLeft",
	"Silence": "Noted Left Ceiling",
	"Write":   "Batch Grants sent",
	"alarm":   "node epoch",
	"alarms":  "raised order oldest",
	"index": "slots nodes byInstance byApp expiring resting cooling free leaving " +
		"unnoted quiet silent lags sweeping sweep",
	"indexSlot":    "hash node",
	"markLease":    "stride configured longest since sent written writing",
	"nodeIndex":    "slots len",
	"nodeSet":      "pages len",
	"pendingWrite": "kind deadline instance ttl from",
	"place":        "instance ticket requests",
	"pool": "Pool index since unsaved highest loaded granting fresh queue alarms " +
		"watched eventsLeft",
	"round":      "addresses tried works after",
	"serverTime": "ms rest steady offset",
	"slot": "node status indexedAs cooling heapAt quietAt epoch app instance ttl " +
		"floor ceiling deadline due noteAt checkAt note pending prev next",
	"slotList":  "first last len",
	"slotTable": "pages len",
}

// forShow are types in fields that no answer depends on.
var forShow = []string{"Event", "Refusal"}

// TestFingerprintsAreComplete makes whoever adds, removes or renames a field decide
// whether clones, states and fingerprints need it.
func TestFingerprintsAreComplete(t *testing.T) {
	got := map[string]string{}
	for _, root := range []any{
		fencing.Server{}, fencing.Holder{}, fencing.Write{}, fencing.Answer{},
		fencing.ServerState{}, fencing.HolderState{},
	} {
		addFields(got, reflect.TypeOf(root))
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if got[name] != remembered[name] {
			t.Errorf("%s has the fields %q, want %q: see whether Clone, State and fingerprint.go "+
				"need the new ones, then change this table", name, got[name], remembered[name])
		}
	}
	for name := range remembered {
		if _, ok := got[name]; !ok {
			t.Errorf("no state has a %s any more: remove it from this table", name)
		}
	}
}

// addFields adds the names of the fields of a type of Cirrus, and those of all such
// types that it consists of.
func addFields(to map[string]string, of reflect.Type) {
	switch of.Kind() {
	case reflect.Map:
		addFields(to, of.Key())
		addFields(to, of.Elem())
	case reflect.Pointer, reflect.Slice, reflect.Array:
		addFields(to, of.Elem())
	case reflect.Struct:
		if _, ok := to[of.Name()]; ok || slices.Contains(forShow, of.Name()) {
			return
		}
		var names []string
		for i := range of.NumField() {
			names = append(names, of.Field(i).Name)
		}
		to[of.Name()] = strings.Join(names, " ")
		for i := range of.NumField() {
			addFields(to, of.Field(i).Type)
		}
	}
}

// TestHolderFingerprint compares fingerprints of holders that differ in one thing.
// Times that have passed, and those between the same two points of the grid, must make
// no difference; all others must.
func TestHolderFingerprint(t *testing.T) {
	const grid, start = 10 * time.Second, snowflake.Millis(1_750_000_000_000)
	h := fencing.NewHolder(fencing.HolderConfig{App: "app"})
	h.Acquire(0, "instance-of-app-")
	lease := fencing.Lease{
		Pool: fencing.DefaultPool, Node: 1, Epoch: 7, TTL: 30 * time.Second,
		Floor: start, Ceiling: start + 30_000, ServerTime: start, Layout: snowflake.DefaultLayout,
	}
	h.Answered(0, fencing.Answer{Call: h.State().Call, Verdict: fencing.AnswerGood, Lease: lease},
		0)
	state := h.State()
	if state.Lease != lease {
		t.Fatalf("the holder has %+v, want %+v", state.Lease, lease)
	}
	fingerprint := func(h fencing.HolderState, at, grid time.Duration) string {
		return string(appendHolder(nil, &h, at, grid))
	}

	same, other := state, state
	same.Failures, same.Due = 3, state.Due+time.Millisecond
	other.Deadline += time.Millisecond
	if fingerprint(state, 0, grid) != fingerprint(same, 0, grid) {
		t.Error(
			"failures, or a due time between the same points, give another fingerprint, want the same")
	}
	if fingerprint(state, 0, grid) == fingerprint(other, 0, grid) {
		t.Error("another deadline gives the same fingerprint, want another")
	}
	if at := 2 * time.Minute; fingerprint(state, at, grid) != fingerprint(other, at, grid) {
		t.Error("a deadline that has passed gives another fingerprint, want the same")
	}
	if fingerprint(state, 0, 1) == fingerprint(same, 0, 1) {
		t.Error("on a grid of 1 ns, another due time gives the same fingerprint, want another")
	}
}
