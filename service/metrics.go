package service

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cirrus-id/cirrus/fencing"
)

// metrics are the numbers that the service counts. What the rules know is read when
// somebody reads the metrics (coreCollector).
type metrics struct {
	grants     *prometheus.CounterVec
	heartbeats *prometheus.CounterVec
	refusals   *prometheus.CounterVec
	forgotten  prometheus.Counter
	madeUp     prometheus.Counter
	storeWrite prometheus.Histogram
	takeovers  prometheus.Counter
	took       prometheus.Histogram
	calls      *prometheus.CounterVec
	gathered   prometheus.Histogram
	foreign    prometheus.Counter
	// connections are made when somebody first listens, or reads the metrics.
	connections func() *connectionMetrics

	// byPool saves each heartbeat the look-up by label.
	byPool sync.Map // fencing.PoolName → prometheus.Counter
}

func newMetrics(replicated bool) *metrics {
	m := &metrics{
		connections: sync.OnceValue(newConnectionMetrics),
		grants: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cirrus_grants_total", Help: "Grants that became durable.",
		}, []string{"pool"}),
		heartbeats: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cirrus_heartbeats_total", Help: "Heartbeats that kept a lease.",
		}, []string{"pool"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cirrus_refusals_total",
			Help: "Requests that were refused, by the reason that the ErrorInfo gives.",
		}, []string{"reason"}),
		forgotten: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cirrus_forgotten_writes_total",
			Help: "Node IDs and epochs whose holder knew of a later grant than the store: the store has lost a write (S12).",
		}),
		madeUp: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cirrus_made_up_leases_total",
			Help: "Requests about a lease that no store can have granted by now: no sign of a lost write (S12).",
		}),
		storeWrite: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "cirrus_store_write_seconds",
			Help:    "How long the store took to make a commit durable.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}),
	}
	if replicated {
		m.ofReplicas()
	}
	return m
}

// ofReplicas adds the numbers of a replica among others.
func (m *metrics) ofReplicas() {
	m.takeovers = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "cirrus_takeovers_total", Help: "Terms that this replica started.",
	})
	m.took = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "cirrus_takeover_seconds",
		Help:    "How long it took from winning the election, or the end of the term before, until this replica could promise.",
		Buckets: prometheus.ExponentialBuckets(0.01, 2, 12),
	})
	m.calls = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cirrus_forwarded_requests_total",
		Help: "Calls to the leader, by procedure and code; a batch of gathered heartbeats is one.",
	}, []string{"procedure", "code"})
	m.gathered = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "cirrus_gathered_heartbeats",
		Help:    "How many heartbeats were sent to the leader in one call.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 11),
	})
	m.foreign = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "cirrus_foreign_requests_total",
		Help: "Requests that were refused because their headers say that a replica of another store forwards them; anybody can send such headers.",
	})
}

// refused counts an error with which a request ends, if it is a refusal of this
// replica. The leader has counted its own.
func (m *metrics) refused(err error) {
	var r *fencing.Refusal
	if errors.As(err, new(*connect.Error)) || !errors.As(err, &r) {
		return
	}
	m.refusals.WithLabelValues(string(r.Reason)).Inc()
	if r.MadeUp {
		m.madeUp.Inc()
	}
}

// forwarded counts a call to the leader.
func (m *metrics) forwarded(procedure string, err error) {
	code := "ok"
	if err != nil {
		code = connect.CodeOf(err).String()
	}
	m.calls.WithLabelValues(procedure, code).Inc()
}

// RoundTrips measures the requests of a Cluster to its servers: give Observe to the
// store, and RoundTrips to Config.
type RoundTrips struct {
	seconds *prometheus.HistogramVec
	// good counts the successful ones, but for those of the election.
	good atomic.Uint64
}

// NewRoundTrips returns RoundTrips that have seen none.
func NewRoundTrips() *RoundTrips {
	return &RoundTrips{seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "cirrus_etcd_round_trip_seconds",
		Help:    "How long etcd took to answer, by operation and outcome (ok or error).",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
	}, []string{"operation", "outcome"})}
}

// electionTrips is the operation of round trips that say nothing of a takeover: they
// go on by themselves.
const electionTrips = "election"

// Observe counts a round trip. operation is one of a few names, such as "commit".
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

// connectionMetrics count the connections of all listeners.
type connectionMetrics struct {
	accepted, refused *prometheus.CounterVec
	open              *prometheus.GaugeVec
}

func newConnectionMetrics() *connectionMetrics {
	return &connectionMetrics{
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cirrus_connections_accepted_total",
			Help: "Connections that were accepted, by listener.",
		}, []string{"listener"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cirrus_connections_refused_total",
			Help: "Connections that were closed at once, by listener and reason: full, or address where one remote address had its share.",
		}, []string{"listener", "reason"}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cirrus_connections_open", Help: "Connections that are open, by listener.",
		}, []string{"listener"}),
	}
}
