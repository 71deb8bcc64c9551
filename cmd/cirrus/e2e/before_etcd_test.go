//go:build linux

package e2e

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/internal/etcdtest"
	"github.com/cirrus-id/cirrus/internal/process"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// TestBeforeEtcd starts replicas before there is an etcd. They listen at once,
// and say what they wait for; once it is there one leads, and the other passes
// on what it is asked.
func TestBeforeEtcd(t *testing.T) {
	t.Parallel()
	members, err := etcdtest.New(etcdtest.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(members.Kill)
	var replicas []*server
	var said []*process.Log
	for range 2 {
		s := &server{addr: freeAddr(t)}
		cmd := command(t, slices.Concat([]string{"serve", "--listen", s.addr, "--metrics-listen="},
			[]string{"--store", "etcd", "--etcd-endpoints", members.Endpoints()[0],
				"--advertise", s.url()})...)
		out := &process.Log{}
		cmd.Stdout = out
		s.program = start(t, cmd)
		replicas, said = append(replicas, s), append(said, out)
	}
	for i, s := range replicas {
		s.awaitListening(t, s.addr)
		eventually(t, "word of what it waits for", func() bool {
			return strings.Contains(said[i].String(),
				"no leader known: waiting for etcd at "+members.Endpoints()[0]+"\n")
		})
		leases, _ := dial(s.url(), connectProto)
		if _, err := leases.Acquire(t.Context(),
			&cirrusv1.AcquireRequest{AppId: "early"}); connect.CodeOf(
			err) != connect.CodeUnavailable || retryAfter(err) == 0 {
			t.Errorf("before there is a leader: %v", err)
		}
	}

	if err := members.Start(); err != nil {
		t.Fatal(err)
	}
	var leader, follower int
	eventually(t, "one to lead and one to follow", func() bool {
		for i := range replicas {
			if strings.Contains(said[i].String(), "\nleading\n") &&
				strings.Contains(said[1-i].String(), "\nfollowing "+replicas[i].url()+"\n") {
				leader, follower = i, 1-i
				return true
			}
		}
		return false
	})
	resp, err := http.Post(replicas[follower].url()+"/cirrus.v1.AdminService/GetPool",
		"application/json", bytes.NewBufferString(`{"name":"default"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK ||
		resp.Header.Get("Cirrus-Leader") != replicas[leader].url() {
		t.Errorf("what is passed on: %s, %v", resp.Status, resp.Header)
	}

	replicas[leader].terminate(t)
	eventually(t, "the other one to lead",
		func() bool { return strings.HasSuffix(said[follower].String(), "\nleading\n") })
	replicas[follower].terminate(t)
}
