//go:build unix

package sim

import (
	"syscall"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/sim/plan"
)

// speedLimit is how many seeds a second there should be on one processor.
const speedLimit = 100

// BenchmarkRun is a campaign in one thread: of the standard world, which has one
// server with a disk and on average some 5 apps, 220 calls and 3 crashes of the
// server a seed, and of three replicas on etcd. What counts is the processors'
// time, of all threads together, since others may want the machine as well:
// seeds/cpu-s are what one processor does in a second that it has for itself,
// and of-limit-100 is the standard world's ratio to speedLimit.
func BenchmarkRun(b *testing.B) {
	b.Run("disk", func(b *testing.B) {
		b.ReportMetric(measure(b, plan.Config{Replicas: -1})/speedLimit, "of-limit-100")
	})
	b.Run("etcd", func(b *testing.B) { measure(b, plan.Config{Replicas: plan.MaxReplicas}) })
}

// measure reports a campaign, and returns how many seeds it did in a second of one
// processor.
func measure(b *testing.B, c plan.Config) float64 {
	before := processorTime(b)
	report, err := Campaign(b.Context(), Options{Seeds: b.N, Jobs: 1, NoFloors: true, Config: c})
	if err != nil {
		b.Fatal(err)
	}
	used := processorTime(b) - before
	n := float64(b.N)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(report.Apps)/n, "apps/seed")
	b.ReportMetric(float64(report.Calls)/n, "calls/seed")
	b.ReportMetric(float64(report.Crashes)/n, "crashes/seed")
	b.ReportMetric(used.Seconds()*1000/n, "cpu-ms/seed")
	b.ReportMetric(n/b.Elapsed().Seconds(), "seeds/s")
	b.ReportMetric(n/used.Seconds(), "seeds/cpu-s")
	return n / used.Seconds()
}

// processorTime is what the process has used of all processors.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
