//go:build linux

package e2e

import (
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// replica is one of several `cirrus serve` on the same store.
type replica struct {
	*program
	c               *cluster
	name            string
	listen, metrics string
	stores          []*proxy // to the etcd members
	clients         *proxy   // from clients to the replica
	peers           *proxy   // from other replicas to this one
	start           func() *program
}

// advertised returns the URL at which other replicas reach this one.
func (r *replica) advertised() string { return "http://" + r.peers.addr }

// url returns the URL at which clients reach the replica.
func (r *replica) url() string { return "http://" + r.clients.addr }

// newReplica prepares a replica with its proxies.
func (c *cluster) newReplica(name string) *replica {
	r := &replica{c: c, name: name, listen: freeAddr(c), metrics: freeAddr(c)}
	r.start = func() *program { return start(c, command(c, r.args()...)) }
	for _, endpoint := range c.etcd.Endpoints() {
		r.stores = append(r.stores, startProxy(c, strings.TrimPrefix(endpoint, "http://")))
	}
	r.clients, r.peers = startProxy(c, r.listen), startProxy(c, r.listen)
	return r
}

func (r *replica) endpoints() string {
	var all []string
	for _, p := range r.stores {
		all = append(all, "http://"+p.addr)
	}
	return strings.Join(all, ",")
}

func (r *replica) args() []string {
	return []string{"serve", "--store", "etcd", "--etcd-endpoints", r.endpoints(),
		"--stride", clusterStride.String(),
		"--advertise", r.advertised(), "--listen", r.listen, "--metrics-listen", r.metrics}
}

// begin starts the replica and waits until it answers.
func (r *replica) begin() {
	r.c.Helper()
	r.program = r.start()
	r.awaitListening(r.c, r.listen)
}

// state returns the replica's own report of its state; "" if it does not answer.
func (r *replica) state() string { return r.side("/readyz") }

func (r *replica) side(path string) string {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + r.metrics + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body) // what came of it
	return strings.TrimSpace(string(body))
}

var leadingGauge = regexp.MustCompile(`(?m)^cirrus_leading 1$`)

// stable waits until one replica leads and all others follow it, and returns the
// leader. It does not ask the replicas in except.
func (c *cluster) stable(except ...*replica) *replica {
	c.Helper()
	rs := c.others(except...)
	var leader *replica
	var states []string
	for deadline := time.Now().Add(timeout); ; time.Sleep(pollEvery) {
		leader, states = nil, nil
		following := map[string]int{}
		for _, r := range rs {
			state := r.state()
			states = append(states, r.name+": "+state)
			if state == "leading" {
				leader = r
			} else {
				following[state]++
			}
		}
		if leader != nil && following["following "+leader.advertised()] == len(rs)-1 &&
			leadingGauge.MatchString(leader.side("/metrics")) {
			return leader
		}
		if time.Now().After(deadline) {
			c.Fatalf("after %v, there is no leader that all follow: %s", timeout,
				strings.Join(states, "; "))
		}
	}
}

// others returns all other replicas.
func (c *cluster) others(than ...*replica) []*replica {
	var rest []*replica
	for _, r := range c.replicas {
		if !slices.Contains(than, r) {
			rest = append(rest, r)
		}
	}
	return rest
}
