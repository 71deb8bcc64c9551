package explore

// Scopes returns the scopes that the tests search. Each has only the faults that
// it is about, so that it can be exhausted. Together they take about a minute of
// one core. One more unit of Horizon makes a scope three to ten times as large.
func Scopes() []Scope {
	// TTL and quarantine of one unit and a stride of two are the smallest that
	// leave room between any two of the rules' times.
	base := Scope{
		Nodes: 1, Holders: 2, Instances: 2, Apps: 1, TTL: 1, Quarantine: 1, Stride: 2,
		Walls: []Units{4}, Requests: 1, Replies: 1, Troubled: 1,
	}
	scope := func(name string, horizon Units, change func(*Scope)) Scope {
		s := base
		s.Name, s.Horizon = name, horizon
		change(&s)
		return s
	}
	return []Scope{
		scope("messages", 3, func(s *Scope) { s.Drift, s.WallSets, s.Requests = 1, 1, 2 }),
		scope("doubles", 3, func(s *Scope) { s.Drift, s.Replies, s.Doubles = 1, 2, 1 }),
		scope("restart", 3, func(s *Scope) { s.Crashes, s.WallSets, s.Quarantine = 1, 1, 0 }),
		scope("slow marks", 3,
			func(s *Scope) { s.SlowMarks, s.WallSets, s.Quarantine = true, 1, 0 }),
		scope("slow marks, restart", 2,
			func(s *Scope) { s.SlowMarks, s.Crashes, s.WallSets, s.Quarantine = true, 1, 1, 0 }),
		scope("wall clock set back", 2, func(s *Scope) {
			s.SlowMarks, s.Crashes, s.WallSets, s.Walls, s.Quarantine = true, 1, 1, []Units{-4}, 0
		}),
		scope("long TTL", 4, func(s *Scope) {
			s.TTL, s.WallSets, s.Walls, s.Quarantine = 3, 1,
				[]Units{8}, 0
		}),
		// A silence note is due before the lease becomes free, and a start uses it.
		scope("silence note, restart", 4,
			func(s *Scope) { s.TTL, s.Stride, s.Crashes, s.Quarantine, s.Walls = 2, 1, 1, 0, nil }),
		scope("takeover", 3, func(s *Scope) { s.Takeovers, s.WallSets, s.Quarantine = 1, 1, 0 }),
		// Deposed leaders still promise, and their silence notes land late or never.
		scope("silence note, takeover", 3, func(s *Scope) {
			s.SlowMarks, s.TTL, s.Stride, s.Takeovers, s.Quarantine, s.Walls = true, 2, 1, 1, 0, nil
		}),
		scope("silence note, two takeovers", 3,
			func(s *Scope) {
				s.TTL, s.Stride, s.Takeovers, s.Quarantine, s.Walls = 2, 1, 2, 0,
					nil
			}),
		scope("silence note, two takeovers, slow marks", 3, func(s *Scope) {
			s.SlowMarks, s.TTL, s.Stride, s.Takeovers, s.Quarantine, s.Walls = true, 2, 1, 2, 0, nil
			s.Holders, s.Instances, s.Restarts = 1, 2, 1
		}),
		scope("release", 3, func(s *Scope) { s.Releases, s.Quarantine = 1, 0 }),
		scope("release, restart", 2,
			func(s *Scope) { s.Releases, s.Crashes, s.Quarantine = 1, 1, 0 }),
		scope("revoke",
			2, func(s *Scope) { s.Revokes, s.Crashes, s.WallSets, s.Quarantine = 1, 1, 1, 0 }),
		scope("apps that die", 4, func(s *Scope) { s.Restarts, s.Instances, s.Drift = 1, 3, 1 }),
		scope("two node IDs", 2, func(s *Scope) { s.Nodes, s.Apps, s.Crashes = 2, 2, 1 }),
		scope("three holders", 3, func(s *Scope) { s.Holders, s.Instances, s.Drift = 3, 3, 1 }),
		scope("clocks that lie", 2, func(s *Scope) {
			s.Lies, s.Drift, s.ServerDrift, s.Takeovers, s.WallSets, s.Walls = true, 1, 1, 1, 1,
				[]Units{-2, 4}
		}),
		scope("lazy", 3, func(s *Scope) { s.Lazy = true }),
	}
}
