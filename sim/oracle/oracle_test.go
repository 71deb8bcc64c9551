package oracle

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/snowflake"
)

// wrongs are stories that must not be, with the promise that each breaks: the oracle
// has to find that one, and no other.
var wrongs = []struct {
	promise Promise
	what    string
	tell    func() *story
}{
	{PromiseExclusion, "two apps hold a node ID", func() *story {
		s := served()
		r := s.hold(0, alice, 0, base+1)
		s.hear(event.AppStarted{App: 1, Process: bob, Pool: fencing.DefaultPool})
		s.hear(event.Live{App: 0, Lease: fencing.Lease{Node: r.Node, Epoch: r.Epoch}, Left: ttl,
			Clock: s.at.Clocks[0], Others: []event.Other{{App: 1, Epoch: base + 2}}})
		return s
	}},
	{PromiseExclusion, "a holder counts its TTL from later than its request", func() *story {
		s := served()
		r := s.hold(0, alice, 0, base+1)
		s.after(time.Second)
		s.hear(event.Live{App: 0, Lease: fencing.Lease{Node: r.Node, Epoch: r.Epoch}, Left: ttl,
			Clock: s.at.Clocks[0]})
		return s
	}},
	{PromiseExclusion, "a holder's deadline goes back", func() *story {
		s := served()
		r := s.hold(0, alice, 0, base+1)
		s.hear(event.Live{App: 0, Lease: fencing.Lease{Node: r.Node, Epoch: r.Epoch}, Left: ttl,
			Clock: s.at.Clocks[0]})
		s.hear(event.Live{App: 0, Lease: fencing.Lease{Node: r.Node, Epoch: r.Epoch},
			Left: ttl - time.Second, Clock: s.at.Clocks[0]})
		return s
	}},
	{PromiseExclusion, "a holder mints after its deadline", func() *story {
		s := served()
		s.hold(0, alice, 0, base+1)
		s.hear(event.MintedLate{App: 0})
		return s
	}},
	{PromiseUniqueness, "an ID is minted twice", func() *story {
		s := served()
		r := s.hold(0, alice, 0, base+1)
		s.hear(event.Minted{App: 0, IDs: []snowflake.ID{id(r, time.Second), id(r, time.Second)}})
		return s
	}},
	{PromiseWindow, "an ID lies behind its minter's window", func() *story {
		s := served()
		r := s.hold(0, alice, 0, base+1)
		s.hear(event.Minted{App: 0, IDs: []snowflake.ID{id(r, ttl+time.Second)}})
		return s
	}},
	{PromiseWindow, "a ceiling falls", func() *story {
		s := served()
		r := s.grant(0, base+1, "a")
		a := s.lease(r, "a")
		a.Ceiling--
		s.answer(one, s.call(event.CallHeartbeat, alice, 0, base+1, "a"), a)
		return s
	}},
	{PromiseWindow, "a release denies an ID that was minted", func() *story {
		s := served()
		r := s.hold(0, alice, 0, base+1)
		s.hear(event.Minted{App: 0, IDs: []snowflake.ID{id(r, time.Second)}})
		c := s.call(event.CallRelease, alice, 0, base+1, "alice")
		last := int64(r.Floor)
		c.Last = &last
		s.hear(event.Arrived{Op: s.next(), Process: one, Call: c})
		return s
	}},
	{PromiseWindow, "a grant begins within the window of the lease before it", func() *story {
		s := served()
		s.grant(0, base+1, "a")
		s.after(ttl + quarantine + time.Second)
		s.mark(base)
		r := s.record(0, base+2, "b")
		r.Floor = snowflake.Millis(s.serverTime()).Add(-quarantine - 2*time.Second)
		s.write(one, 0, fencing.Batch{Records: []fencing.Record{r}})
		return s
	}},
	{PromiseWindow, "the end of a lease is noted below what was promised", func() *story {
		s := served()
		r := s.grant(0, base+1, "a")
		s.after(ttl + quarantine + time.Second)
		r.Status, r.Ceiling = fencing.Ended, r.Ceiling-1
		s.write(one, 0, fencing.Batch{Records: []fencing.Record{r}})
		return s
	}},
	{PromiseEpochs, "an epoch is below one that was sent", func() *story {
		s := served()
		s.grant(0, base+2, "a")
		s.write(one, 0, fencing.Batch{Records: []fencing.Record{s.record(1, base+1, "b")}})
		return s
	}},
	{PromiseEpochs, "two grants have one epoch", func() *story {
		s := served()
		s.write(one, 0, fencing.Batch{Records: []fencing.Record{s.record(0, base+1, "a")}})
		s.write(one, 0, fencing.Batch{Records: []fencing.Record{s.record(1, base+1, "b")}})
		return s
	}},
	{PromiseEpochs, "an epoch is below the base", func() *story {
		s := served()
		s.grant(0, base-1, "a")
		return s
	}},
	{PromiseEpochs, "a start's base is too low", func() *story {
		s := newStory(false)
		snap := s.store()
		s.hear(event.Server{Name: "one"}, event.StoreIs{Snapshot: snap},
			event.Started{Process: one, Stride: stride}, event.Loaded{Process: one, Snapshot: snap})
		s.mark(base - 1)
		return s
	}},
	{PromiseFencing, "a heartbeat succeeds for another instance", func() *story {
		s := served()
		r := s.grant(0, base+1, "a")
		a := s.lease(r, "a")
		s.answer(one, s.call(event.CallHeartbeat, bob, 0, base+1, "b"), a)
		return s
	}},
	{PromiseLiveness, "a pool is full though a node ID is free", func() *story {
		s := served()
		s.hear(event.FaultsEnded{})
		s.after(time.Minute)
		s.answer(one, s.call(event.CallAcquire, alice, -1, 0, "a"),
			&event.Reply{Code: "resource_exhausted", Node: -1})
		return s
	}},
	{PromiseLiveness, "a request waits though a node ID is free", func() *story {
		s := served()
		s.hear(event.FaultsEnded{})
		s.after(time.Second)
		c := s.call(event.CallAcquire, alice, -1, 0, "a")
		c.Wait = time.Minute
		s.hear(event.Arrived{Op: s.next(), Process: one, Call: c})
		s.after(time.Second)
		s.hear(event.Checked{})
		return s
	}},
	{PromiseLiveness, "a suspicious pool is not opened", func() *story {
		s := newStory(false)
		snap := s.store()
		snap.Pools[0].Opened = false
		s.serve(snap)
		s.hear(event.FaultsEnded{})
		s.after(time.Minute)
		s.hear(event.Checked{})
		return s
	}},
	{PromiseLiveness, "a silent lease is not noted", func() *story {
		s := served()
		s.after(3 * stride)
		s.mark(base)
		s.grant(0, base+1, "a")
		s.hear(event.FaultsEnded{})
		s.after(ttl + stride)
		s.hear(event.Checked{})
		return s
	}},
	{PromiseLiveness, "an app has no node ID", func() *story {
		s := served()
		s.hear(event.FaultsEnded{})
		s.after(10 * time.Minute)
		s.hear(event.Waits{Apps: []event.App{{Name: "alice", Pool: fencing.DefaultPool}}})
		return s
	}},
	{PromiseLiveness, "a request is never answered", func() *story {
		s := served()
		s.hear(event.FaultsEnded{}, event.Arrived{Op: s.next(), Process: one,
			Call: s.call(event.CallAcquire, alice, -1, 0, "a")})
		s.after(10 * time.Minute)
		s.hear(event.Passed{})
		return s
	}},
	{PromiseDurable, "a record is gone after a restart", func() *story {
		s := served()
		s.grant(0, base+1, "a")
		s.hear(event.Stopped{Process: one}, event.Started{Process: one, Stride: stride})
		snap := s.store()
		snap.Meta = s.oracle.Meta()
		s.hear(event.Loaded{Process: one, Snapshot: snap})
		return s
	}},
	{PromiseDurable, "a grant is promised before it is acknowledged", func() *story {
		s := served()
		r := s.record(0, base+1, "a")
		s.answer(one, s.call(event.CallAcquire, alice, -1, 0, "a"), s.lease(r, "a"))
		return s
	}},
	{PromiseDurable, "a release is confirmed before it is acknowledged", func() *story {
		s := served()
		s.grant(0, base+1, "a")
		s.answer(one, s.call(event.CallRelease, alice, 0, base+1, "a"),
			&event.Reply{Good: true, Node: 0, Epoch: uint64(base + 1)})
		return s
	}},
	{PromiseDurable, "a record is written twice at once", func() *story {
		s := served()
		b := fencing.Batch{Records: []fencing.Record{s.record(0, base+1, "a")}}
		s.hear(event.Write{Write: s.next(), Process: one, Batch: b},
			event.Write{Write: s.next(), Process: one, Batch: b})
		return s
	}},
	{PromiseQuarantine, "an expired node ID is granted too early", func() *story {
		s := served()
		r := s.grant(0, base+1, "a")
		s.after(ttl + quarantine - time.Second)
		s.mark(base)
		_ = r
		s.write(one, 0, fencing.Batch{Records: []fencing.Record{s.record(0, base+2, "b")}})
		return s
	}},
	{PromiseQuarantine, "a start grants what it found leased too early", func() *story {
		s := newStory(false)
		r := s.record(0, loadedBase, "a")
		s.serve(s.store(r))
		s.after(stride + ttl + quarantine - time.Second)
		s.mark(base)
		s.write(one, 0, fencing.Batch{Records: []fencing.Record{s.record(0, base+1, "b")}})
		return s
	}},
	{PromiseQuarantine, "a pool grants that is not opened", func() *story {
		s := newStory(false)
		snap := s.store()
		snap.Pools[0].Opened = false
		s.serve(snap)
		s.write(one, 0, fencing.Batch{Records: []fencing.Record{s.record(0, base+1, "a")}})
		return s
	}},
	{PromiseLine, "a request overtakes another", func() *story {
		s := served()
		s.after(time.Second)
		for _, by := range []event.Process{alice, bob} {
			c := s.call(event.CallAcquire, by, -1, 0, by.Machine)
			c.Wait = time.Minute
			s.hear(event.Arrived{Op: s.next(), Process: one, Call: c})
		}
		s.write(one, 0, fencing.Batch{Records: []fencing.Record{s.record(0, base+1, "bob")}})
		return s
	}},
	{PromiseSuspicion, "a suspicious pool is opened too early", func() *story {
		s := newStory(false)
		snap := s.store()
		snap.Pools[0].Opened = false
		s.serve(snap)
		s.after(ttl + quarantine + stride - time.Second)
		s.write(one, 0, fencing.Batch{Pools: []fencing.Pool{defaultPool()}})
		return s
	}},
	{PromiseStride, "a stride becomes shorter too early", func() *story {
		s := served()
		s.after(stride - time.Second)
		s.write(
			one, 0, fencing.Batch{Meta: &fencing.Meta{Mark: snowflake.Millis(s.serverTime()).Add(
				stride), Stride: stride / 2, FirstEpoch: base}})
		return s
	}},
	{PromiseHeartbeat, "LEASE_LOST is told of a lease that there is", func() *story {
		s := served()
		s.grant(0, base+1, "a")
		s.answer(one, s.call(event.CallHeartbeat, alice, 0, base+1, "a"),
			&event.Reply{Code: "failed_precondition", Lost: true, Node: 0, Epoch: uint64(base + 1)})
		return s
	}},
	{PromiseSilence, "a lease with a silence note is promised", func() *story {
		s := served()
		r := s.record(0, base+1, "a")
		s.write(one, 0, fencing.Batch{Records: []fencing.Record{r}})
		r.Silence = fencing.Silence{Noted: true, Left: ttl, Ceiling: r.Ceiling}
		meta := s.oracle.Meta()
		s.write(one, 0, fencing.Batch{Meta: &meta, Records: []fencing.Record{r}})
		s.answer(one, s.call(event.CallAcquire, alice, -1, 0, "a"), s.lease(r, "a"))
		return s
	}},
	{PromiseQuarantine, "a silence note leaves less than was promised", func() *story {
		s := served()
		r := s.grant(0, base+1, "a")
		r.Silence = fencing.Silence{Noted: true, Left: ttl - time.Second, Ceiling: r.Ceiling}
		meta := s.oracle.Meta()
		s.write(one, 0, fencing.Batch{Meta: &meta, Records: []fencing.Record{r}})
		return s
	}},
	{PromiseFailStop, "a lease is promised after a write has failed", func() *story {
		s := served()
		r := s.grant(0, base+1, "a")
		n := s.next()
		s.hear(event.Write{Write: n, Process: one, Batch: fencing.Batch{}}, event.Failed{Write: n})
		s.heartbeat(r, "a")
		return s
	}},
	{PromiseTimeout, "a request waits for the store for too long", func() *story {
		s := served()
		c, n := s.call(event.CallAcquire, alice, -1, 0, "a"), s.next()
		s.hear(event.Arrived{Op: n, Process: one, Call: c})
		s.after(storeTimeout + time.Second)
		s.hear(event.Replied{Op: n, Call: c, Reply: &event.Reply{Code: "unavailable", Node: -1}})
		return s
	}},
	{PromiseMark, "a promise is made above the mark", func() *story {
		s := served()
		r := s.grant(0, base+1, "a")
		a := s.lease(r, "a")
		a.Server = s.serverTime() + stride.Milliseconds() + 1
		s.answer(one, s.call(event.CallHeartbeat, alice, 0, base+1, "a"), a)
		return s
	}},
	{PromiseMark, "a promise is made later than a stride after the mark", func() *story {
		s := served()
		r := s.grant(0, base+1, "a")
		s.after(stride + time.Second)
		a := s.lease(r, "a")
		a.Server, a.Ceiling = a.Server-2000, a.Ceiling-2000
		s.answer(one, s.call(event.CallHeartbeat, alice, 0, base+1, "a"), a)
		return s
	}},
	{PromiseMark, "the mark is lowered", func() *story {
		s := served()
		m := s.oracle.Meta()
		m.Mark--
		s.write(one, 0, fencing.Batch{Meta: &m})
		return s
	}},
	{PromiseState, "a server's own check fails", func() *story {
		s := served()
		s.hear(event.Checked{Fault: "two leases of one node ID"})
		return s
	}},
	{PromiseAnswer, "a holder takes its lease for lost unasked", func() *story {
		s := served()
		s.hold(0, alice, 0, base+1)
		s.hear(event.Loses{App: 0, Process: alice})
		return s
	}},
	{PromiseAnswer, "a holder ends that was refused nothing", func() *story {
		s := served()
		s.hold(0, alice, 0, base+1)
		s.hear(event.Ends{App: 0, Process: alice, Words: "gives up"})
		return s
	}},
	{PromiseLog, "a line is logged under the lock", func() *story {
		s := served()
		s.hear(event.Logged{Machine: "one", Message: "a line", Locked: true})
		return s
	}},
	{PromiseAlarm, "a lost lease comes back and is not counted", func() *story {
		s := served()
		s.grant(0, base+1, "a")
		kept := s.store()
		kept.Meta = s.oracle.Meta()
		s.hear(event.StoreShrunk{Kept: kept}, event.StoreIs{Snapshot: kept}, event.StoreDamaged{})
		c, n := s.call(event.CallHeartbeat, alice, 0, base+1, "a"), s.next()
		s.hear(event.Arrived{Op: n, Process: one, Call: c},
			event.Replied{Op: n, Call: c, Reply: &event.Reply{Code: "failed_precondition",
				Lost: true, Epoch: uint64(base + 1)}})
		return s
	}},
	{PromiseLostWrites, "a store that has lost a mark is served", func() *story {
		s := served()
		s.hear(event.StoreDamaged{LostMark: true}, event.StoreOpened{})
		return s
	}},
	{PromiseLostWrites, "a store that has lost nothing is refused", func() *story {
		s := served()
		s.hear(event.StoreRefused{})
		return s
	}},
	{PromiseOneLease, "an instance is granted a second node ID", func() *story {
		s := served()
		s.grant(0, base+1, "a")
		s.write(one, 0, fencing.Batch{Records: []fencing.Record{s.record(1, base+2, "a")}})
		return s
	}},
	{PromiseRecover, "recover leaves a live record", func() *story {
		s := served()
		r := s.grant(0, base+1, "a")
		after := s.store(r)
		after.Meta = s.oracle.Meta()
		after.Meta.FirstEpoch += epochsPerSecond
		after.Pools[0].Opened = false
		s.hear(event.Recovered{Before: s.oracle.Meta(), After: after, Told: stride})
		return s
	}},
	{PromiseInstance, "two processes have one instance ID", func() *story {
		s := served()
		s.hear(event.Sent{Call: s.call(event.CallAcquire, alice, -1, 0, "a")},
			event.Sent{Call: s.call(event.CallAcquire, bob, -1, 0, "a")})
		return s
	}},
	{PromiseTerm, "a takeover that lands late ends a term", func() *story {
		s := led()
		s.takesOver(1, two, 2)
		s.takesOver(0, one, 3)
		s.after(time.Second)
		s.tookOver(3)
		s.tookOver(2)
		return s
	}},
	{PromiseTerm, "a deposed term writes", func() *story {
		s := led()
		n := s.next()
		s.hear(event.Write{Write: n, Process: one, Term: 1,
			Batch: fencing.Batch{Records: []fencing.Record{s.record(0, base+1, "a")}}},
			event.TxnSent{Txn: n, Process: one, Guarded: true, Guard: "term 1", Keys: 1})
		s.takesOver(1, two, 2)
		s.tookOver(2)
		s.hear(event.TxnDone{Txn: n, Done: true})
		return s
	}},
	{PromiseConfirm, "a deposed leader says LEASE_LOST to a later request", func() *story {
		s := led()
		s.takesOver(1, two, 2)
		s.tookOver(2)
		s.after(time.Second)
		s.answer(one, s.call(event.CallHeartbeat, alice, 0, base+1, "a"),
			&event.Reply{Code: "failed_precondition", Lost: true, Epoch: uint64(base + 1)})
		return s
	}},
	{PromiseConfirm, "a replica tells of a lost write", func() *story {
		s := led()
		s.hear(event.Logged{Machine: "one", Message: "a write is lost (S12)"})
		return s
	}},
	{PromiseForward, "a replica that doesn't lead answers by itself", func() *story {
		s := led()
		s.answer(two, s.call(event.CallAcquire, alice, -1, 0, "a"),
			s.lease(s.record(0, base+1, "a"), "a"))
		return s
	}},
	{PromiseHistory, "a heartbeat succeeds after a release", func() *story {
		s := served()
		r := s.grant(0, base+1, "a")
		ended := r
		ended.Status = fencing.Ended
		release, n := s.call(event.CallRelease, alice, 0, base+1, "a"), s.next()
		s.hear(event.Arrived{Op: n, Process: one, Call: release})
		s.write(one, 0, fencing.Batch{Records: []fencing.Record{ended}})
		s.hear(event.Replied{Op: n, Call: release,
			Reply: &event.Reply{Good: true, Epoch: uint64(base + 1)}})
		batch := s.call(event.CallBatch, bob, -1, 0, "")
		batch.Items = []*event.Request{{Pool: string(fencing.DefaultPool), Epoch: uint64(base + 1),
			Instance: "a"}}
		n = s.next()
		s.hear(event.Arrived{Op: n, Process: one, Call: batch})
		s.after(time.Second)
		s.hear(event.Replied{Op: n, Call: batch,
			Reply: &event.Reply{Good: true, Node: -1, Items: []*event.Reply{s.lease(r, "a")}}},
			event.Finished{})
		return s
	}},
}
