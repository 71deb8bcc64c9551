package sim

import (
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/oracle"
	"github.com/cirrus-id/cirrus/sim/plan"
	"github.com/cirrus-id/cirrus/store/etcd"
)

// What the world reports to its oracle, and what it takes from it.

func (w *world) newOracle() *oracle.Oracle {
	p := w.plan
	return oracle.New(oracle.Config{
		Replicated: w.replicated(),
		Exclusive:  p.Profile != plan.Hostile || !p.On[plan.WildRate] && !p.On[plan.BlindSuspend],
		Judged:     p.Profile != plan.Vows,
		TTL:        p.TTL, Longest: p.Longest, Quarantine: p.Quarantine, Stride: p.MaxStride,
		Session: p.Session, EtcdTimeout: p.EtcdTimeout, PeerTimeout: peerTimeout,
		Apps: plan.MaxApps,
	}, (*sink)(w))
}

// hear reports to the oracle what happens now.
func (w *world) hear(n event.News) {
	at := event.Instant{Now: w.now()}
	for i, s := range w.servers {
		at.Clocks[i] = reading(s.machine)
	}
	w.oracle.Hear(at, n)
}

// reading reads a machine's clocks.
func reading(m *kernel.Machine) event.Clock {
	return event.Clock{
		Steady: m.Steady(), Wall: int64(wallMillis(m)), Resolution: m.Resolution, Rate: m.Rate,
		Frozen: m.Frozen, Woke: m.Woke,
	}
}

// sink is a world as its oracle sees it.
type sink world

// Violated implements oracle.Sink.
func (s *sink) Violated(p Promise, text string) { (*world)(s).violate(p, "%s", text) }

// Saw implements oracle.Sink.
func (s *sink) Saw(situation string) { (*world)(s).saw(situation) }

// Note implements oracle.Sink.
func (s *sink) Note(r Record) { (*world)(s).note(r) }

// named returns the name of a process.
func named(p *kernel.Process) event.Process {
	return event.Process{Machine: p.Machine.Name, Number: p.Number}
}

// nextOp numbers an operation.
func (w *world) nextOp() int {
	w.ops++
	return w.ops
}

// fromApp reports whether a call is of an app's process that runs.
func (c *call) fromApp() bool { return c.w.appOf(c.from) != nil }

func (c *call) asNews() event.Call {
	return event.Call{
		Number: c.number, Procedure: c.procedure, From: named(c.from), FromApp: c.fromApp(),
		Peer: c.peer, Parent: c.parent, Request: c.request,
	}
}

// countedLost returns how many lost writes a server has counted; −1: its process has
// ended.
func (s *server) countedLost() int {
	if s.service == nil {
		return -1
	}
	return s.lostWrites
}

// startWrite reports a write, and returns its number.
func (w *world) startWrite(n event.Write) int {
	w.writes++
	n.Write = w.writes
	w.hear(n)
	return n.Write
}

// sendTxn reports a transaction, and returns its number.
func (w *world) sendTxn(k *etcdConn, t etcd.Txn) int {
	w.txns++
	n := event.TxnSent{Txn: w.txns, Process: named(k.p), TakeOver: t.For == etcd.ForTakeOver,
		Keys: len(t.Ops)}
	if n.TakeOver {
		n.Value = string(t.Ops[0].Value)
	}
	if len(t.If) > 0 && t.If[0].Value != nil {
		n.Guarded, n.Guard = true, string(t.If[0].Value)
	}
	w.hear(n)
	return n.Txn
}

// txnDone reports what etcd made of a transaction.
func (w *world) txnDone(k *etcdConn, t etcd.Txn, number int, done, late bool) {
	w.hear(event.TxnDone{Txn: number, Done: done, Late: late})
	if done && t.For == etcd.ForTakeOver {
		w.leads = k.s
	}
}

// checkServer reports what a server's own check of its state comes to.
func (w *world) checkServer(s *server) {
	n := event.Checked{Server: s.index, Leads: w.replicated() && s.term != nil}
	for _, other := range w.servers {
		if other.term != nil {
			n.Leaders++
		}
	}
	if s.term != nil {
		if err := s.term.Rules().Check(); err != nil {
			n.Fault = err.Error()
		}
	}
	w.hear(n)
}

// tellLive reports an app that takes itself for a holder.
func (w *world) tellLive(a *app) {
	l, ok := a.live()
	if !ok {
		return
	}
	n := event.Live{App: a.index, Lease: l.Lease, Left: l.Remaining, Clock: reading(a.machine)}
	for _, b := range w.apps {
		if b == a || b.pool != a.pool {
			continue
		}
		if other, ok := b.live(); ok && other.Node == l.Node {
			n.Others = append(n.Others, event.Other{App: b.index, Epoch: other.Epoch})
		}
	}
	w.hear(n)
}

// clockChanged has noted anew what hangs on a machine's clock.
func (w *world) clockChanged(m *kernel.Machine) {
	for _, s := range w.servers {
		if s.machine == m {
			w.hear(event.ClockChanged{Server: s.index})
		}
	}
	for _, a := range w.apps {
		if a.machine == m {
			l, ok := a.live()
			w.hear(event.Shown{App: a.index, Holds: ok, Lease: l.Lease, Clock: reading(m)})
		}
	}
}
