//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// TestClusterEtcd lets etcd fail in the ways in which it does.
func TestClusterEtcd(t *testing.T) {
	c := startCluster(t, plan{replicas: 3, deposed: true})
	c.killMember("SIGKILL etcd's leader", c.etcdLeader())
	if long {
		for i := range members {
			c.killMember(fmt.Sprintf("SIGKILL etcd member %d", i), i)
		}
		c.stopMember()
	}
	c.restartEtcd()
	c.slowEtcd(either(5*time.Second, 20*time.Second))
	c.outOfSpace(either(5*time.Second, 15*time.Second))
	c.noQuorum(either(5*time.Second, 15*time.Second))
	if long {
		c.noQuorum(90 * time.Second)
	}
	c.judge()
}

// killMember: one member less is one that nobody misses for long.
func (c *cluster) killMember(name string, i int) {
	c.stable()
	killed := now()
	c.etcd.Member(i).Kill()
	c.grantOne()
	granted := time.Duration(now() - killed)
	nap(c.Context(), either(0, 2*sessionTTL))
	back := c.settle()
	c.saw(name, "a grant took %v; all as before %v after its restart", ms3(granted), ms3(back))
	c.nobodyLapsed(name)
}

// stopMember: a member that stands still keeps its connections open.
func (c *cluster) stopMember() {
	const name = "SIGSTOP etcd's leader for 15s"
	m := c.etcd.Member(c.etcdLeader())
	stopped := now()
	c.must(m.Freeze())
	defer func() { _ = m.Thaw() }()
	c.grantOne()
	granted := time.Duration(now() - stopped)
	nap(c.Context(), 15*time.Second-granted)
	c.must(m.Thaw())
	back := c.settle()
	c.saw(name, "a grant took %v; all as before after %v", ms3(granted), ms3(back))
	c.nobodyLapsed(name)
}

// restartEtcd: all members are killed at once, and start from their disks.
func (c *cluster) restartEtcd() {
	const name = "etcd killed whole, restarted from disk"
	c.etcd.Kill()
	c.must(c.etcd.Start())
	back := c.settle()
	c.saw(name, "all as before after %v", ms3(back))
	c.nobodyLapsed(name)
}

// noQuorum: nothing can be written. What is promised then is promised from a
// mark written before, and not for longer than a stride; holders wait, and after
// that they have what they had: nobody was there to give it away.
func (c *cluster) noQuorum(d time.Duration) {
	name := fmt.Sprintf("etcd without quorum for %v", d)
	c.stable()
	lost := now()
	c.etcd.Member(0).Kill()
	c.etcd.Member(1).Kill()
	nap(c.Context(), d)
	restarted := now()
	c.must(c.etcd.Start())
	took := c.answered(restarted, c.replicas, nil)
	back := c.settle()
	c.saw(
		name, "first heartbeat answered %v after the restart of etcd, %v after its end; all as before after %v; %d deadlines had passed",
		ms3(took), ms3(time.Duration(restarted-lost)+took), ms3(back), len(c.obs.lapsed("kept")))
	c.nobodyLost(name)
	// Who had a heartbeat at the latest a third of its TTL before has this long.
	if time.Duration(restarted-lost)+took < keptTTL-keptTTL/3 {
		c.nobodyLapsed(name)
	}
}

// slowEtcd: each write takes 200 ms more on its way.
func (c *cluster) slowEtcd(d time.Duration) {
	const name = "etcd slow, 200 ms a write"
	leader := c.stable()
	for _, r := range c.replicas {
		for _, p := range r.stores {
			c.must(p.impose(fault{up: way{delay: 200 * time.Millisecond}}))
		}
	}
	slowed := now()
	before := c.obs.count().grants
	nap(c.Context(), d)
	c.grantsGoOn()
	grants := c.obs.count().grants - before
	took := c.answered(now(), c.replicas, nil)
	same := c.stable() == leader
	elapsed := time.Duration(now() - slowed)
	back := c.settle()
	c.saw(name, "%d grants in %v, a heartbeat in %v, the same leader: %v; all as before after %v",
		grants, ms3(elapsed), ms3(took), same, ms3(back))
	c.nobodyLapsed(name)
}

// outOfSpace: etcd takes no writes until someone makes room.
func (c *cluster) outOfSpace(d time.Duration) {
	const name = "etcd out of space"
	c.stable()
	c.alarm("ACTIVATE")
	raised := now()
	nap(c.Context(), d)
	c.alarm("DEACTIVATE")
	lowered := now()
	took := c.answered(lowered, c.replicas, nil)
	back := c.settle()
	c.saw(name, "for %v; first heartbeat answered %v after it; all as before after %v",
		ms3(time.Duration(lowered-raised)), ms3(took), ms3(back))
	c.nobodyLapsed(name)
}

// alarm raises the alarm that etcd raises when its disk is full, or ends it.
func (c *cluster) alarm(action string) {
	c.Helper()
	for i := range members {
		id := c.etcdStatus(i).Header.MemberID
		_, err := c.askEtcd(i, "maintenance/alarm",
			map[string]any{"action": action, "memberID": id, "alarm": "NOSPACE"})
		c.must(err)
	}
}

// endSession ends the session of the replica that leads, as etcd does when it has
// heard nothing of it for the session's TTL.
func (c *cluster) endSession() {
	c.Helper()
	const first, last = "/cirrus/leader/", "/cirrus/leader0"
	text, err := c.askEtcd(0, "kv/range", map[string]any{
		"key": []byte(first), "range_end": []byte(last), "limit": 1, "sort_order": "ASCEND",
		"sort_target": "CREATE",
	})
	c.must(err)
	var found struct {
		Kvs []struct{ Lease string }
	}
	c.must(json.Unmarshal(text, &found))
	if len(found.Kvs) != 1 {
		c.Fatalf("etcd knows no leader: %s", text)
	}
	_, err = c.askEtcd(0, "lease/revoke", map[string]any{"ID": found.Kvs[0].Lease})
	c.must(err)
}

// etcdLeader is the number of the member that leads.
func (c *cluster) etcdLeader() int {
	c.Helper()
	leader := -1
	eventually(c, "a leader of etcd", func() bool {
		for i := range members {
			if s := c.etcdStatus(i); s.Leader != "0" && s.Leader == s.Header.MemberID {
				leader = i
			}
		}
		return leader >= 0
	})
	return leader
}

// memberStatus is what a member says of itself; 64-bit numbers are strings in
// JSON.
type memberStatus struct {
	Header struct {
		MemberID string `json:"member_id"`
	} `json:"header"`
	Leader string `json:"leader"`
}

func (c *cluster) etcdStatus(i int) (s memberStatus) {
	c.Helper()
	text, err := c.askEtcd(i, "maintenance/status", map[string]any{})
	c.must(err)
	c.must(json.Unmarshal(text, &s))
	return s
}

// askEtcd asks a member something over HTTP.
func (c *cluster) askEtcd(i int, what string, request any) ([]byte, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	client := http.Client{Timeout: timeout}
	resp, err := client.Post(c.etcd.Member(i).Endpoint+"/v3/"+what, "application/json",
		bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("etcd, asked for %s: %s: %s", what, resp.Status, text)
	}
	return text, err
}
