package service

import (
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cirrus-id/cirrus/fencing"
)

// metrics are the service's numbers. What the core knows is asked of it when
// somebody looks.
type metrics struct {
	// registry is what is read; it is made when somebody reads.
	registry   func() *prometheus.Registry
	grants     *prometheus.CounterVec
	heartbeats *prometheus.CounterVec
	refusals   *prometheus.CounterVec
	forgotten  prometheus.Counter
	madeUp     prometheus.Counter
	storeWrite prometheus.Histogram
	takeovers  prometheus.Counter
	took       prometheus.Histogram
	passed     *prometheus.CounterVec
	gathered   prometheus.Histogram
	strangers  prometheus.Counter
	// connections are made when somebody listens, or reads.
	connections func() *connectionMetrics

	// byPool spares each heartbeat the look-up by label.
	byPool sync.Map // fencing.PoolName → prometheus.Counter
}

func newMetrics(s *Service) *metrics {
	m := &metrics{
		connections: sync.OnceValue(newConnectionMetrics),
		grants: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cirrus_grants_total", Help: "Grants that became durable.",
		}, []string{"pool"}),
		heartbeats: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cirrus_heartbeats_total", Help: "Heartbeats that kept a lease.",
		}, []string{"pool"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cirrus_refusals_total", Help: "Requests that were refused, by the reason that the ErrorInfo gives.",
		}, []string{"reason"}),
		forgotten: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cirrus_forgotten_writes_total", Help: "Node IDs and epochs whose holder knew of a later grant than the store: the store has lost a write (S12).",
		}),
		madeUp: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cirrus_made_up_leases_total", Help: "Requests about a lease that no store can have granted by now: no sign of a lost write (S12).",
		}),
		storeWrite: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cirrus_store_write_seconds", Help: "How long the store took to make a commit durable.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}),
	}
	if s.cfg.Cluster != nil {
		m.ofReplicas(s)
	}
	m.registry = sync.OnceValue(func() *prometheus.Registry { return m.register(s) })
	return m
}

func (m *metrics) register(s *Service) *prometheus.Registry {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "cirrus_build_info", Help: "1, with the version that runs.", ConstLabels: prometheus.Labels{"version": s.cfg.Version},
	})
	build.Set(1)
	r := prometheus.NewRegistry()
	r.MustRegister(build, m.grants, m.heartbeats, m.refusals, m.forgotten, m.madeUp, m.storeWrite, &coreCollector{s},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	c := m.connections()
	r.MustRegister(c.accepted, c.refused, c.open)
	if s.cfg.Cluster != nil {
		r.MustRegister(m.takeovers, m.took, m.passed, m.gathered, m.strangers)
	}
	if dropped := s.cfg.DroppedLogLines; dropped != nil {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "cirrus_log_lines_dropped_total", Help: "Lines of the log that were lost, since nobody read them in time (S14).",
		}, func() float64 { return float64(dropped()) }))
	}
	if s.cfg.RoundTrips != nil {
		r.MustRegister(s.cfg.RoundTrips.seconds)
	}
	return r
}

// ofReplicas adds the numbers of a replica among others.
func (m *metrics) ofReplicas(s *Service) {
	m.takeovers = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "cirrus_takeovers_total", Help: "Terms that this replica began.",
	})
	m.took = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "cirrus_takeover_seconds", Help: "How long it took from winning the election, or the end of the term before, until this replica could promise.",
		Buckets: prometheus.ExponentialBuckets(0.01, 2, 12),
	})
	m.passed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cirrus_forwarded_requests_total", Help: "Calls to the leader, by procedure and code; a batch of gathered heartbeats is one.",
	}, []string{"procedure", "code"})
	m.gathered = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "cirrus_gathered_heartbeats", Help: "How many heartbeats were sent to the leader in one call.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 11),
	})
	m.strangers = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "cirrus_foreign_requests_total", Help: "Requests that were refused because their headers say that a replica of another store passes them on; anybody can send such headers.",
	})
}

// passedOn counts a call to the leader.
func (m *metrics) passedOn(procedure string, err error) {
	code := "ok"
	if err != nil {
		code = connect.CodeOf(err).String()
	}
	m.passed.WithLabelValues(procedure, code).Inc()
}

// RoundTrips measures what a Cluster asks of its servers: hand Observe to the
// store, and RoundTrips to Config.
type RoundTrips struct {
	seconds *prometheus.HistogramVec
	// good counts those of all operations but the election's that were answered.
	good atomic.Uint64
}

// NewRoundTrips returns RoundTrips that have seen none.
func NewRoundTrips() *RoundTrips {
	return &RoundTrips{seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "cirrus_etcd_round_trip_seconds", Help: "How long etcd took to answer, by operation and outcome (ok or error).",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
	}, []string{"operation", "outcome"})}
}

// electionTrips are the operation of those that go on by themselves, whatever
// becomes of a takeover.
const electionTrips = "election"

// Observe notes a round trip. The operations are few: a name such as "commit".
func (r *RoundTrips) Observe(operation string, took time.Duration, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "error"
	} else if operation != electionTrips {
		r.good.Add(1)
	}
	r.seconds.WithLabelValues(operation, outcome).Observe(took.Seconds())
}

func (m *metrics) heartbeat(pool fencing.PoolName) {
	c, ok := m.byPool.Load(pool)
	if !ok {
		c, _ = m.byPool.LoadOrStore(pool, m.heartbeats.WithLabelValues(string(pool)))
	}
	c.(prometheus.Counter).Inc()
}

// coreCollector reads the core's numbers.
type coreCollector struct{ s *Service }

var (
	nodeIDsDesc  = prometheus.NewDesc("cirrus_node_ids", "Node IDs by state: held, quarantined or free.", []string{"pool", "state"}, nil)
	nextFreeDesc = prometheus.NewDesc("cirrus_next_free_seconds", "In how long the next node ID can become free by time; absent where none will.", []string{"pool"}, nil)
	waitingDesc  = prometheus.NewDesc("cirrus_waiting_requests", "Instances in the queue for a free node ID.", []string{"pool"}, nil)
	openedDesc   = prometheus.NewDesc("cirrus_pool_opened", "1 where the pool grants leases, 0 where it is not opened yet (S7).", []string{"pool"}, nil)
	offsetDesc   = prometheus.NewDesc("cirrus_clock_offset_seconds", "The wall clock less server time.", nil, nil)
	alarmDesc    = prometheus.NewDesc("cirrus_clock_alarm", "1 while the wall clock is too far ahead to be followed at once (S8).", nil, nil)
	markDesc     = prometheus.NewDesc("cirrus_mark_ahead_seconds", "The acknowledged mark less server time; below 0 nothing is promised (S10).", nil, nil)
	leftDesc     = prometheus.NewDesc("cirrus_mark_left_seconds", "For how long the last acknowledged mark write still lets this server promise; 0 where it promises nothing (S10).", nil, nil)
	diskFreeDesc = prometheus.NewDesc("cirrus_store_disk_free_bytes", "Free bytes of the disk that holds the store, at the last write of the mark.", nil, nil)
	diskSizeDesc = prometheus.NewDesc("cirrus_store_disk_size_bytes", "All bytes of the disk that holds the store.", nil, nil)
	leadingDesc  = prometheus.NewDesc("cirrus_leading", "1 while this replica leads, 0 while it doesn't.", nil, nil)
)

// Describe names the numbers.
func (c *coreCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{nodeIDsDesc, nextFreeDesc, waitingDesc, openedDesc, offsetDesc, alarmDesc, markDesc, leftDesc, diskFreeDesc, diskSizeDesc, leadingDesc} {
		ch <- d
	}
}

// Collect reads the numbers.
func (c *coreCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	t := c.s.role.Load().term
	if c.s.cfg.Cluster != nil {
		gauge(leadingDesc, number(t != nil))
	}
	if space := c.s.cfg.DiskSpace; space != nil {
		if free, size, known := space(); known {
			gauge(diskFreeDesc, float64(free))
			gauge(diskSizeDesc, float64(size))
		}
	}
	if t == nil {
		gauge(leftDesc, 0)
		return
	}
	for _, ps := range t.stats() {
		st, pool := ps.PoolStats, string(ps.name)
		gauge(nodeIDsDesc, float64(st.Held), pool, "held")
		gauge(nodeIDsDesc, float64(st.Quarantined), pool, "quarantined")
		gauge(nodeIDsDesc, float64(st.Free), pool, "free")
		gauge(waitingDesc, float64(st.Waiting), pool)
		gauge(openedDesc, number(st.Opened), pool)
		if st.NextKnown {
			gauge(nextFreeDesc, st.NextFree.Seconds(), pool)
		}
	}
	now := t.enter()
	defer t.leave()
	gauge(offsetDesc, t.core.ClockOffset().Seconds())
	gauge(alarmDesc, number(t.core.ClockAlarm()))
	gauge(leftDesc, t.core.PromisesFor(now).Seconds())
	gauge(markDesc, t.core.Mark().Sub(t.core.ServerTime()).Seconds())
}

// statsPage is how many pools' numbers are taken under one hold of the lock.
const statsPage = 8

// poolStats are a pool's numbers, with its name.
type poolStats struct {
	fencing.PoolStats
	name fencing.PoolName
}

// stats takes the numbers of all pools, a few at a time (S14).
func (t *term) stats() (all []poolStats) {
	for names := range slices.Chunk(t.poolNames(), statsPage) {
		all = append(all, t.someStats(names)...)
	}
	return all
}

func (t *term) someStats(names []fencing.PoolName) (some []poolStats) {
	now := t.enter()
	defer t.leave()
	for _, name := range names {
		st, _ := t.core.Stats(now, name)
		some = append(some, poolStats{st, name})
	}
	return some
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Limits of the metrics' side.
const (
	// maxScrapes is how many scrapes may be collected at once: each asks for
	// the lock that heartbeats need.
	maxScrapes = 4
	// scrapeTime is how long a scrape may take to be collected.
	scrapeTime = 10 * time.Second
)

// MetricsHandler serves /livez, /readyz and /metrics.
func (s *Service) MetricsHandler() http.Handler {
	mux := http.NewServeMux()
	registry := s.metrics.registry()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		Registry: registry, MaxRequestsInFlight: maxScrapes, Timeout: scrapeTime,
	}))
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, "ok", true) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		text, ready := s.state()
		answer(w, text, ready)
	})
	return s.refuseBrowsers(mux)
}

func answer(w http.ResponseWriter, text string, ok bool) {
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = io.WriteString(w, text+"\n") // whoever asked may be gone
}
