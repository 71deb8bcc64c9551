package explore

// step is one thing that can happen in a state.
type step struct {
	kind stepKind
	// who is a holder's place, or which machines' clocks stand still.
	who uint8
	// msg is the place of a message or a write, or a choice; lose that of a
	// message that is lost.
	msg, lose uint8
	// old: it happens to the deposed server at this place, from 1 on; 0: to
	// none. keep: the message stays.
	old  uint8
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

// deposedBit, and those above it, stand beside the holders' in step.who.
const deposedBit = 1 << MaxHolders

// found is told of each thing that can happen, and what it leads to.
type found func(by step, next state)

// each goes through all that can happen in a state.
func (w *world) each(s *state, f found) {
	w.eachOfTime(s, f)
	w.eachOfServers(s, f)
	for i := range w.scope.Holders {
		w.eachOfHolder(s, i, f)
	}
}
