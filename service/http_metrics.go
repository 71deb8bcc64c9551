package service

import (
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// register returns a registry of all metrics.
func (s *Service) register() *prometheus.Registry {
	m := s.metrics
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "cirrus_build_info", Help: "1, with the version that runs.",
		ConstLabels: prometheus.Labels{"version": s.cfg.Version},
	})
	build.Set(1)
	r := prometheus.NewRegistry()
	r.MustRegister(build, m.grants, m.heartbeats, m.refusals, m.forgotten, m.madeUp, m.storeWrite,
		&coreCollector{s},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	c := m.connections()
	r.MustRegister(c.accepted, c.refused, c.open)
	if s.cfg.Cluster != nil {
		r.MustRegister(m.takeovers, m.took, m.calls, m.gathered, m.foreign)
	}
	if dropped := s.cfg.DroppedLogLines; dropped != nil {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "cirrus_log_lines_dropped_total",
			Help: "Lines of the log that were lost, since nobody read them in time (S14).",
		}, func() float64 { return float64(dropped()) }))
	}
	if s.cfg.RoundTrips != nil {
		r.MustRegister(s.cfg.RoundTrips.seconds)
	}
	return r
}

// coreCollector reads the numbers of the rules.
type coreCollector struct{ s *Service }

var (
	nodeIDsDesc = prometheus.NewDesc("cirrus_node_ids",
		"Node IDs by state: held, quarantined or free.", []string{"pool", "state"}, nil)
	nextFreeDesc = prometheus.NewDesc("cirrus_next_free_seconds",
		"In how long the next node ID can become free by time; absent where none will.",
		[]string{"pool"}, nil)
	waitingDesc = prometheus.NewDesc("cirrus_waiting_requests",
		"Instances in the queue for a free node ID.", []string{"pool"}, nil)
	openedDesc = prometheus.NewDesc("cirrus_pool_opened",
		"1 where the pool grants leases, 0 where it is not opened yet (S7).", []string{"pool"}, nil)
	offsetDesc = prometheus.NewDesc("cirrus_clock_offset_seconds",
		"The wall clock less server time.", nil, nil)
	alarmDesc = prometheus.NewDesc("cirrus_clock_alarm",
		"1 while the wall clock is too far ahead to be followed at once (S8).", nil, nil)
	markDesc = prometheus.NewDesc("cirrus_mark_ahead_seconds",
		"The acknowledged mark less server time; below 0 nothing is promised (S10).", nil, nil)
	leftDesc = prometheus.NewDesc("cirrus_mark_left_seconds",
		"For how long the last acknowledged mark write still lets this server promise; 0 where it promises nothing (S10).", nil, nil)
	diskFreeDesc = prometheus.NewDesc("cirrus_store_disk_free_bytes",
		"Free bytes of the disk that holds the store, at the last write of the mark.", nil, nil)
	diskSizeDesc = prometheus.NewDesc("cirrus_store_disk_size_bytes",
		"All bytes of the disk that holds the store.", nil, nil)
	leadingDesc = prometheus.NewDesc("cirrus_leading",
		"1 while this replica leads, 0 while it doesn't.", nil, nil)
)

// Describe names the numbers.
func (c *coreCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{nodeIDsDesc, nextFreeDesc, waitingDesc, openedDesc,
		offsetDesc, alarmDesc, markDesc, leftDesc, diskFreeDesc, diskSizeDesc, leadingDesc} {
		ch <- d
	}
}

// Collect reads the numbers.
func (c *coreCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	t := c.s.state.Load().term
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

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Limits of the metrics' listener.
const (
	// maxScrapes is how many scrapes may be collected at once: each takes the lock
	// that heartbeats need.
	maxScrapes = 4
	// scrapeTime is how long a scrape may take to be collected.
	scrapeTime = 10 * time.Second
)

// MetricsHandler serves /livez, /readyz and /metrics.
func (s *Service) MetricsHandler() http.Handler {
	mux := http.NewServeMux()
	registry := s.registry()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		Registry: registry, MaxRequestsInFlight: maxScrapes, Timeout: scrapeTime,
	}))
	mux.HandleFunc("/livez", func(w http.ResponseWriter,
		_ *http.Request) {
		writeText(w, "ok", true)
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		text, ready := s.describe()
		writeText(w, text, ready)
	})
	return s.refuseBrowsers(mux)
}

func writeText(w http.ResponseWriter, text string, ok bool) {
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = io.WriteString(w, text+"\n") // the client may be gone
}
