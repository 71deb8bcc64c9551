package main

import (
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
)

// openReplica reaches for the store in etcd that the flags name, as one replica
// of it. It doesn't wait for etcd.
func openReplica(cmd *cobra.Command, cfg *service.Config) (*etcd.Cluster, error) {
	at, err := etcdConfig(cmd, cfg.Logger)
	if err != nil {
		return nil, err
	}
	if at.Advertise, err = advertised(cmd, cfg.Logger); err != nil {
		return nil, err
	}
	// What isn't given is as it is stored, so only the leader can know.
	if asked := cfg.DefaultPool.New(fencing.DefaultPool); cfg.DefaultPool.TTL != nil {
		if err := (prefix{at}).admits([]fencing.Pool{asked}); err != nil {
			return nil, exit.Usage(err)
		}
	}
	cfg.RoundTrips = service.NewRoundTrips()
	at.Observe = func(r etcd.RoundTrip) { cfg.RoundTrips.Observe(string(r.For), r.Took, r.Err) }
	c, err := etcd.Open(at)
	if err != nil {
		return nil, err
	}
	cfg.Cluster = c
	return c, nil
}

// advertised is what --advertise says: the base URL at which the other replicas
// reach this one.
func advertised(cmd *cobra.Command, log *slog.Logger) (string, error) {
	text, err := cmd.Flags().GetString("advertise")
	if err != nil {
		return "", err
	}
	if text == "" {
		return "", exit.Usagef("--advertise is missing: give the URL at which the other replicas reach this one, such as --advertise http://cirrus-1:50051")
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", exit.Usagef("--advertise %q: give an http:// or https:// URL without a path, such as http://cirrus-1:50051", text)
	}
	if here(u.Hostname()) {
		log.Warn("replicas on other machines can't reach this one at the address that it advertises: give one that leads here from everywhere", "advertise", text)
	}
	return u.Scheme + "://" + u.Host, nil
}

// here says whether a host means each machine itself.
func here(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip.IsLoopback() || ip.IsUnspecified()
}

// stater is the part of a service that says what the replica is.
type stater interface {
	State() (text string, ready bool, news <-chan struct{})
}

// tellState says on stdout what the replica is, in the words of /readyz, and
// each change, until the function that it returns is called.
func tellState(cmd *cobra.Command, svc stater, c store.Cluster) (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		again := time.NewTicker(service.StateEvery)
		defer again.Stop()
		for said := ""; ; {
			state, _, news := svc.State()
			if state == service.NoLeaderKnown {
				state += ": waiting for " + awaited(cmd, c)
			}
			if state != said {
				cmd.Println(state)
				said = state
			}
			select {
			case <-news:
			case <-again.C:
			case <-stop:
				return
			}
		}
	}()
	return func() { close(stop); <-done }
}

// awaited is what a replica waits for that knows of no leader: as long as etcd
// has never answered, that it does.
func awaited(cmd *cobra.Command, c store.Cluster) string {
	if c.ID() != "" {
		return "the election"
	}
	endpoints, _ := cmd.Flags().GetStringSlice("etcd-endpoints") // they were read before
	return "etcd at " + strings.Join(endpoints, ", ")
}
