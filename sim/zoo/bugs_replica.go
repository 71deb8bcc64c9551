package zoo

import "github.com/cirrus-id/cirrus/sim"

// inTerm changes how a term writes.
func inTerm(old, instead string) Edit {
	return Edit{File: "store/etcd/term.go", Old: old, New: instead}
}

const (
	guarded    = "\ttxn := Txn{For: ForCommit, If: []Compare{t.guard}, Ops: ops}\n"
	sentOnce   = "\tdone, err := t.cluster.kv.Txn(ctx, txn)\n"
	whenUnsure = "\t\treturn t.end(fmt.Errorf(\"it is unknown whether a write was done: %w\", err))\n"
	madeOfLoad = "\tif t.core, err = fencing.NewServer(snap, cfg.Stride, t.s.now()); err != nil {\n"
	filledIn   = "\t\treq.InstanceId = string(h.s.newInstance())\n"
)

// replicaBugs: several replicas, of which one at a time may write and promise.
var replicaBugs = []Bug{
	{
		Name:  "write-without-its-guard",
		Rule:  "S10",
		Edits: []Edit{inTerm(guarded, "\ttxn := Txn{For: ForCommit, Ops: ops}\n")},
		Found: breaks(sim.PromiseTerm),
	},
	{
		Name: "guard-on-the-leaders-key",
		Rule: "S10",
		Edits: []Edit{
			inTerm("\tguard   Compare // holds while no other term has begun\n", "\tguard   Compare\n\tchosen  *Compare\n"),
			inTerm(guarded, guarded+"\tif t.chosen != nil {\n\t\ttxn.If[0] = *t.chosen\n\t}\n"),
			{
				File: "store/etcd/cluster.go",
				Old:  "\treturn newTermOf(c, value), done, nil\n",
				New:  "\tt := newTermOf(c, value)\n\tif len(guards) > 0 {\n\t\tt.chosen = &guards[0]\n\t}\n\treturn t, done, nil\n",
			},
		},
		Found: breaks(sim.PromiseTerm),
	},
	{
		Name: "genesis-without-its-guard",
		Rule: "S10",
		Edits: []Edit{inTerm(
			"\t\ttxn.If = append(txn.If, t.keys.nothing()...)\n",
			"\t\ttxn.If = nil\n",
		)},
		Found: breaks(sim.PromiseTerm),
	},
	{
		Name: "term-record-with-a-value-that-repeats",
		Rule: "S10",
		Edits: []Edit{{
			File: "store/etcd/cluster.go",
			Old:  "\treturn []byte(hex.EncodeToString(random[:]) + \" \" + c.opts.Self.ID), nil\n",
			New:  "\treturn []byte(hex.EncodeToString(make([]byte, 16)) + \" \" + c.opts.Self.ID), nil\n",
		}},
		Found: breaks(sim.PromiseTerm),
	},
	{
		Name: "takeover-that-compares-nothing",
		Rule: "S10",
		Edits: []Edit{{
			File: "store/etcd/cluster.go",
			Old:  "\tguards = append(found, guards...)\n",
			New:  "\t_ = found\n",
		}},
		Found: breaks(sim.PromiseTerm),
	},
	{
		Name:  "unknown-write-sent-again",
		Rule:  "S9",
		Edits: []Edit{inTerm(sentOnce, sentOnce+"\tif err != nil {\n\t\tdone, err = t.cluster.kv.Txn(ctx, txn)\n\t}\n")},
		Found: breaks(sim.PromiseTerm),
	},
	{
		Name:  "unknown-write-taken-as-done",
		Rule:  "S9",
		Edits: []Edit{inTerm(whenUnsure, "\t\treturn nil\n")},
		Found: breaks(sim.PromiseDurable),
	},
	{
		// The term goes on: what the store holds now is loaded, and what is
		// still on its way lands later.
		Name: "unknown-write-taken-as-failed",
		Rule: "S9",
		Edits: []Edit{
			inTerm(whenUnsure, "\t\treturn fmt.Errorf(\"a write failed: %w\", err)\n"),
			{
				File: "service/service.go",
				Old:  "\tcancel context.CancelFunc\n",
				New:  "\tcancel context.CancelFunc\n\tlast   store.Term\n\tgiven  store.Leadership\n",
			},
			{
				File: "service/lead.go",
				Old:  "\tst, err := o.TakeOver(ctx)\n",
				New:  "\tst, err := s.last, error(nil)\n\tif s.given != o || st == nil || st.Confirm(ctx) != nil {\n\t\tst, err = o.TakeOver(ctx)\n\t}\n\ts.last, s.given = st, o\n",
			},
		},
		Found: breaks(sim.PromiseFailStop),
	},
	{
		Name: "loaded-before-the-takeover",
		Rule: "S10",
		Edits: []Edit{
			inTerm("\tguard   Compare // holds while no other term has begun\n", "\tguard   Compare\n\tearly   *loader\n"),
			{
				File: "store/etcd/cluster.go",
				Old:  "\tt, done, err := l.cluster.takeOver(ctx, ForTakeOver, Compare{Key: l.Key(), CreateRevision: l.Revision()})\n",
				New: `	early := loader{keys: l.cluster.keys}
	_, _ = newTermOf(l.cluster, nil).survey(ctx, &early)
	t, done, err := l.cluster.takeOver(ctx, ForTakeOver, Compare{Key: l.Key(), CreateRevision: l.Revision()})
`,
			},
			{
				File: "store/etcd/cluster.go",
				Old:  "\tcase done:\n\t\treturn t, nil\n",
				New:  "\tcase done:\n\t\tt.early = &early\n\t\treturn t, nil\n",
			},
			{
				File: "store/etcd/load.go",
				Old:  "\tl := loader{keys: t.keys}\n",
				New:  "\tif t.early != nil && t.early.any {\n\t\treturn t.early.snapshot()\n\t}\n\tl := loader{keys: t.keys}\n",
			},
		},
		Found: breaks(sim.PromiseDurable),
	},
	{
		Name: "load-in-pages-of-different-states",
		Rule: "S10",
		Edits: []Edit{{
			File: "store/etcd/load.go",
			Old:  "\t\tr.Revision = page.Revision // the state of the first page, whatever is written since\n",
			New:  "",
		}},
		Found: fails("store/etcd", "TestLoadIsOneState", "the term record is the last key: a load that another term's writes got into finds that out, and one that finds out too late has a term that can neither write its first mark nor promise"),
	},
	{
		Name: "memory-kept-over-a-term",
		Rule: "S9",
		Edits: []Edit{
			{
				File: "service/service.go",
				Old:  "\tcancel context.CancelFunc\n",
				New:  "\tcancel context.CancelFunc\n\tkept   *fencing.Server\n",
			},
			{
				File: "service/term.go",
				Old:  madeOfLoad,
				New:  "\tt.core = t.s.kept\n\tif t.core == nil {\n\t\tt.core, err = fencing.NewServer(snap, cfg.Stride, t.s.now())\n\t}\n\tt.s.kept = t.core\n\tif err != nil {\n",
			},
			{
				File: "service/term.go",
				Old:  "\tt.core.Fail(cause)\n",
				New:  "\tif t.s.cfg.Cluster == nil {\n\t\tt.core.Fail(cause)\n\t}\n",
			},
			{
				File: "service/term.go",
				Old:  "\tif err := t.commit(first); err != nil {\n",
				New:  "\tif first == nil {\n\t\tt.s.spawn(func() { t.keep(next) })\n\t\treturn nil\n\t}\n\tif err := t.commit(first); err != nil {\n",
			},
		},
		Found: breaks(sim.PromiseMark, sim.PromiseDurable, sim.PromiseFencing, sim.PromiseEpochs),
	},
	{
		Name: "takeover-without-the-stride",
		Rule: "S6",
		Edits: []Edit{{
			File: "service/term.go",
			Old:  madeOfLoad,
			New:  "\tbegun := t.s.now()\n\tif cfg.Cluster != nil {\n\t\tbegun.Steady -= max(snap.Meta.Stride, cfg.Stride)\n\t}\n\tif t.core, err = fencing.NewServer(snap, cfg.Stride, begun); err != nil {\n",
		}},
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		// The mark is not written again while the session lasts.
		Name: "sessions-end-as-the-only-brake",
		Rule: "S10",
		Edits: []Edit{{
			File: "service/term.go",
			Old:  "\treturn t.store.Commit(t.ctx, b)\n",
			New:  "\tif t.s.cfg.Cluster != nil && t.s.role.Load().term == t && b.Meta != nil && len(b.Pools)+len(b.Records) == 0 {\n\t\treturn nil // the election would tell\n\t}\n\treturn t.store.Commit(t.ctx, b)\n",
		}},
		Found: breaks(sim.PromiseMark),
	},
	{
		Name: "mark-counted-from-its-acknowledgement",
		Rule: "S10",
		Edits: []Edit{{
			File: "fencing/written.go",
			Old:  "\t\ts.mark.acknowledged(w.sent)\n",
			New:  "\t\ts.mark.acknowledged(at.steady)\n",
		}},
		Found: breaks(sim.PromiseMark),
	},
	{
		Name: "lease-lost-without-confirm",
		Rule: "S10",
		Edits: []Edit{{
			File: "service/errors.go",
			Old:  "\treturn t.ruling(r, w.confirm(ctx))\n",
			New:  "\tif r.Reason == fencing.ReasonLeaseLost {\n\t\treturn t.ruling(r, nil)\n\t}\n\treturn t.ruling(r, w.confirm(ctx))\n",
		}},
		Found: breaks(sim.PromiseConfirm),
	},
	{
		Name: "confirm-begun-before-the-request",
		Rule: "S10",
		Edits: []Edit{
			{
				File: "service/confirm.go",
				Old:  "\tgathering *confirmation\n",
				New:  "\tgathering *confirmation\n\tflying    *confirmation\n",
			},
			{
				File: "service/confirm.go",
				Old:  "\tif cs.gathering == nil {\n",
				New:  "\tif cs.flying != nil {\n\t\treturn cs.flying\n\t}\n\tif cs.gathering == nil {\n",
			},
			{
				File: "service/confirm.go",
				Old:  "\tcs.gathering, cs.busy = nil, c != nil\n",
				New:  "\tcs.gathering, cs.busy, cs.flying = nil, c != nil, c\n",
			},
		},
		Found: breaks(sim.PromiseConfirm),
	},
	{
		Name: "confirm-that-does-not-look",
		Rule: "S10",
		Edits: []Edit{inTerm(
			"\tif !t.ours(page.Keys) {\n",
			"\tif len(page.Keys) == 0 {\n",
		)},
		Found: breaks(sim.PromiseConfirm),
	},
	{
		Name:  "lost-write-told-without-confirm",
		Rule:  "S12",
		Edits: []Edit{{File: "service/confirm.go", Old: "\tt.confirms.keep(l)\n}\n", New: "\tt.s.tellLost(l)\n}\n"}},
		Found: breaks(sim.PromiseConfirm),
	},
	{
		Name: "follower-answers-heartbeats-itself",
		Rule: "S10",
		Edits: []Edit{
			{
				File: "service/gather.go",
				Old:  "\tb := &beat{req: req, done: make(chan struct{})}\n",
				New:  "\tif known := p.beats.known[req.GetInstanceId()]; known != nil {\n\t\treturn known, p.sign(ctx, nil)\n\t}\n\tb := &beat{req: req, done: make(chan struct{})}\n",
			},
			{
				File: "service/gather.go",
				Old:  "\tcalls int\n}\n",
				New:  "\tcalls int\n\tknown map[string]*cirrusv1.HeartbeatResponse\n}\n",
			},
			{
				File: "service/gather.go",
				Old:  "\t\t\tb.resp = &cirrusv1.HeartbeatResponse{Lease: resp.Results[i].GetLease()}\n",
				New:  "\t\t\tb.resp = &cirrusv1.HeartbeatResponse{Lease: resp.Results[i].GetLease()}\n\t\t\tif p.beats.known == nil {\n\t\t\t\tp.beats.known = map[string]*cirrusv1.HeartbeatResponse{}\n\t\t\t}\n\t\t\tp.beats.known[b.req.GetInstanceId()] = b.resp\n",
			},
		},
		Found: breaks(sim.PromiseForward),
	},
	{
		// Who comes from a replica is let in, whichever store it serves.
		Name: "answers-for-another-store",
		Rule: "S10",
		Edits: []Edit{{
			File: "service/route.go",
			Old:  "\t\tif ours == \"\" || theirs == ours {\n",
			New:  "\t\tif ours == \"\" || theirs != \"\" {\n",
		}},
		Found: breaks(sim.PromiseForward),
	},
	{
		Name: "empty-instance-filled-in-by-the-leader",
		Rule: "S10",
		Edits: []Edit{
			{File: "service/leases.go", Old: filledIn, New: "\t\t_ = h.s.newInstance()\n"},
			{
				File: "service/leases.go",
				Old:  "\task, wait, r := readAcquire(req)\n",
				New:  "\tif req.InstanceId == \"\" {\n\t\treq = &cirrusv1.AcquireRequest{Pool: req.Pool, AppId: req.AppId, Ttl: req.Ttl, Wait: req.Wait, InstanceId: string(t.s.newInstance())}\n\t}\n\task, wait, r := readAcquire(req)\n",
			},
		},
		Found: breaks(sim.PromiseOneLease),
	},
	{
		Name: "silent-member-never-left",
		Rule: "P4",
		Edits: []Edit{{
			File: "store/etcd/client.go",
			Old:  "\tif turn != c.turn || c.closed || len(c.cfg.Endpoints) == 1 {\n",
			New:  "\tif turn >= 0 || c.closed || len(c.cfg.Endpoints) == 1 {\n",
		}},
		Found: fails("store/etcd", "TestSilentMemberIsAbandoned", "what asks etcd's members is the part that a simulated etcd takes the place of"),
	},
}
