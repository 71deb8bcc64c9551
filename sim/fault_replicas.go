package sim

import (
	"time"

	"github.com/cirrus-id/cirrus/sim/kernel"
)

// EtcdCut, LeaderCut, LeaderPause, LeaderCrash, LeaderStop: what happens to replicas,
// and to the leader more often.

// leader is the replica whose term is the last, if it runs; else any.
func (w *world) leader(d kernel.Dice) *server {
	n := d.Below(uint64(len(w.servers)))
	if w.leads != nil && w.leads.running() {
		return w.leads
	}
	return w.servers[n]
}

// victim is the server that a fault is for: the one that there is or, of
// replicas, any, and the leader more often.
func (w *world) victim(d kernel.Dice) *server {
	if !w.replicated() {
		return w.primary
	}
	n, leads := d.Below(uint64(len(w.servers))), d.Below(2) == 1
	if leads && w.leads != nil && w.leads.running() {
		return w.leads
	}
	return w.servers[n]
}

// cutEtcd cuts a replica off from etcd, one way or both, and from nobody else.
func (w *world) cutEtcd(d kernel.Dice) {
	s := w.victim(d)
	w.sever(d, s.name(), []string{etcdName}, "etcd")
}

// cutReplica cuts a replica off from all but etcd: from the clients, from the
// other replicas, or from both.
func (w *world) cutReplica(d kernel.Dice) {
	s := w.victim(d)
	var others []string
	which := d.Below(3)
	for _, m := range w.machines {
		_, is := w.serverNamed(m.Name)
		if m != s.machine && m.Name != etcdName && (which == 2 || is == (which == 1)) {
			others = append(others, m.Name)
		}
	}
	w.sever(d, s.name(), others, []string{"the clients", "the other replicas",
		"all but etcd"}[which])
}

func (w *world) sever(d kernel.Dice, name string, others []string, whom string) {
	until := w.now() + d.Tail(w.plan.TTL, 4*w.plan.TTL)
	ways := d.Below(3)
	for _, other := range others {
		if ways != 2 {
			w.net.links[link{name, other}] = until
		}
		if ways != 1 {
			w.net.links[link{other, name}] = until
		}
	}
	text := []string{"cut off from " + whom + " both ways", "cut off on the way to " + whom,
		"cut off on the way from " + whom}[ways]
	w.note(Record{Kind: RecordNetwork, Machine: name, Peer: whom, Node: -1, Until: until,
		Text: text})
}

// pauseLeader is SIGSTOP, and SIGCONT after a while.
func (w *world) pauseLeader(d kernel.Dice) {
	m := w.leader(d).machine
	long := []time.Duration{w.plan.Stride, w.plan.Session, w.plan.TTL, 3 * w.plan.TTL}[d.Below(4)]
	m.Freeze(d.Duration(long/2, 2*long))
	w.note(Record{Kind: RecordPause, Machine: m.Name, Node: -1, Until: m.Frozen, Text: "stopped"})
}

func (w *world) crashLeader(d kernel.Dice) { w.leader(d).crash("") }

func (w *world) stopLeader(d kernel.Dice) { w.leader(d).stop(func() {}) }
