package page

import (
	"fmt"

	"github.com/cirrus-id/cirrus/sim"
)

// sentence describes a record.
func sentence(r *sim.Record) string {
	who := name(r.Machine)
	switch r.Kind {
	case sim.RecordStart:
		return fmt.Sprintf("%s starts (process %d)", who, r.Process)
	case sim.RecordExit:
		return who + " ends" + because(r)
	case sim.RecordCrash:
		return who + " is killed" + because(r)
	case sim.RecordSend, sim.RecordArrive, sim.RecordReply, sim.RecordAnswer, sim.RecordDrop:
		return message(r)
	case sim.RecordGrant:
		return fmt.Sprintf("%s decides to grant %s to %s, window [%d, %d]",
			who, lease(r), r.Text, r.Floor, r.Ceiling)
	case sim.RecordDurable:
		return "the record of " + lease(r) + " is on the disk"
	case sim.RecordEnd:
		return fmt.Sprintf("%s decides that %s is %s, with ceiling %d", who, lease(r), r.Text,
			r.Ceiling)
	case sim.RecordHold, sim.RecordExtend, sim.RecordLapse:
		return holding(r)
	case sim.RecordDeadline:
		return fmt.Sprintf(
			"%s waits for the holder of %s until %s, then keeps it in quarantine until %s",
			who, lease(r), seconds(r.Until), seconds(r.RestUntil))
	case sim.RecordSettings:
		return settings(r)
	case sim.RecordMint:
		return fmt.Sprintf("%s mints %d IDs with node ID %d, timestamps %d to %d",
			who, r.Count, r.Node, r.Floor, r.Ceiling)
	case sim.RecordHeal:
		return "faults stop here"
	}
	return other(r)
}

// other describes the records whose text needs few words more.
func other(r *sim.Record) string {
	who := name(r.Machine)
	switch r.Kind {
	case sim.RecordPause:
		return fmt.Sprintf("%s is paused until %s%s", who, seconds(r.Until), because(r))
	case sim.RecordNetwork:
		return fmt.Sprintf("%s is %s, until %s", who, r.Text, seconds(r.Until))
	case sim.RecordDisk:
		if r.Machine == etcd {
			return fmt.Sprintf("etcd: %s, until %s", r.Text, seconds(r.Until))
		}
		if r.Until > r.At {
			return fmt.Sprintf("disk of %s: %s, until %s", who, r.Text, seconds(r.Until))
		}
		return fmt.Sprintf("disk of %s: %s", who, r.Text)
	case sim.RecordOperate:
		return "operator: " + r.Text
	case sim.RecordLog:
		return who + " logs: " + r.Text
	case sim.RecordClock:
		return fmt.Sprintf("clock of %s: %s", who, r.Text)
	case sim.RecordTerm, sim.RecordDeposed:
		return who + " " + r.Text
	case sim.RecordViolated:
		return "BROKEN: " + r.Promise + ": " + r.Text
	}
	return fmt.Sprintf("%s: %s%s", who, r.Kind, because(r))
}

// message describes a record about a message.
func message(r *sim.Record) string {
	what := fmt.Sprintf("%s #%d", r.Call, r.Message)
	switch r.Kind {
	case sim.RecordSend:
		return fmt.Sprintf("%s sends %s%s", name(r.Machine), what, about(r))
	case sim.RecordArrive:
		return fmt.Sprintf("%s reaches %s", what, name(r.Machine))
	case sim.RecordReply:
		return fmt.Sprintf("%s answers %s of %s: %s", name(r.Machine), what, r.Peer, said(r))
	case sim.RecordAnswer:
		return fmt.Sprintf("the answer to %s reaches %s: %s", what, name(r.Machine), said(r))
	}
	switch {
	case serves(r.Machine) && serves(r.Peer):
		return fmt.Sprintf("%s between %s and %s is lost: %s", what, name(r.Machine), r.Peer,
			r.Text)
	case serves(r.Machine):
		return fmt.Sprintf("the answer to %s of %s is lost: %s", what, r.Peer, r.Text)
	}
	return fmt.Sprintf("%s from %s is lost: %s", what, name(r.Machine), r.Text)
}

// settings describes the settings of a server or of a pool.
func settings(r *sim.Record) string {
	if r.Pool == "" {
		return fmt.Sprintf("%s has a stride of %v", name(r.Machine), r.Stride)
	}
	return fmt.Sprintf(
		"%s has pool %s with a TTL of %v (%v at most), a quarantine of %v, a stride of %v",
		name(r.Machine), r.Pool, r.TTL, r.MaxTTL, r.Quarantine, r.Stride)
}

// said describes an answer.
func said(r *sim.Record) string {
	switch {
	case r.Text != "":
		return r.Text
	case r.Ceiling != 0:
		return fmt.Sprintf("%s is granted, window [%d, %d]", lease(r), r.Floor, r.Ceiling)
	}
	return "yes"
}

// holding describes what an app holds.
func holding(r *sim.Record) string {
	switch r.Kind {
	case sim.RecordExtend:
		return fmt.Sprintf("%s may use %s until %s", name(r.Machine), lease(r), seconds(r.Until))
	case sim.RecordHold:
		return fmt.Sprintf("%s holds %s (%s), until %s at least",
			name(r.Machine), lease(r), r.Text, seconds(r.Until))
	}
	return fmt.Sprintf("%s no longer holds %s%s", name(r.Machine), lease(r), because(r))
}

// about returns the lease that a message is about, if it is about one.
func about(r *sim.Record) string {
	if r.Node < 0 {
		return ""
	}
	return " about " + lease(r)
}

// because returns the record's reason, if it has one.
func because(r *sim.Record) string {
	if r.Text == "" {
		return ""
	}
	return ": " + r.Text
}

// lease names a record's lease. Six digits of the epoch tell leases of a run apart.
func lease(r *sim.Record) string {
	if r.Epoch == 0 {
		return nodeName(r.Pool, r.Node)
	}
	return fmt.Sprintf("%s, epoch %s", nodeName(r.Pool, r.Node), shortEpoch(r.Epoch))
}

// shortEpoch returns the last six digits of an epoch.
func shortEpoch(e uint64) string {
	if e < 1e6 {
		return fmt.Sprint(e)
	}
	return fmt.Sprintf("…%06d", e%1e6)
}

// nodeName names a node ID, and its pool if that is not the default pool.
func nodeName(pool string, node int) string {
	if pool == "" || pool == "default" {
		return fmt.Sprintf("node ID %d", node)
	}
	return fmt.Sprintf("node ID %d of pool %s", node, pool)
}

// name returns a machine's name as it stands in a sentence.
func name(machine string) string {
	switch machine {
	case server, operator:
		return "the " + machine
	}
	return machine
}
