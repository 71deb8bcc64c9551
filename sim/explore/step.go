package explore

// step is one thing that can happen in a state.
type step struct {
	kind stepKind
	// who is a holder's place, a node ID, or a set of machines whose clocks stand
	// still: a bit for each.
	who uint8
	// msg is the place of a message or of a write, or another choice.
	msg uint8
	// lose is the place of the message that is lost.
	lose uint8
	// old is the place of the deposed server that the step is about, from 1 on. 0:
	// it is about none.
	old uint8
	// keep leaves the message in flight.
	keep bool
}

type stepKind uint8

const (
	stepTime stepKind = iota
	stepCatchUp
	stepWall
	stepStart
	stepCrash
	stepTakeover
	stepMark
	stepWritten
	stepRevoke
	stepTick
	stepRequest
	stepReply
	stepRelease
	stepRestart
	stepForgery
)

// deposedBit is the first deposed server's bit in step.who. Below it are the
// holders' bits.
const deposedBit = 1 << MaxHolders

// found is called with each step that is possible, and the state it leads to.
type found func(by step, next state)

// each takes all steps that are possible in a state.
func (w *world) each(s *state, f found) {
	w.eachOfTime(s, f)
	w.eachOfServers(s, f)
	for i := range w.scope.Holders {
		w.eachOfHolder(s, i, f)
	}
}
