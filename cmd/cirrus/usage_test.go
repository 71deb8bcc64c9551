package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/location"
)

// TestWrongUsage checks that wrong usage ends with exit code 2 and one line that says
// what to do, before the command calls a service or writes to a disk.
func TestWrongUsage(t *testing.T) {
	for _, tc := range []struct{ args, hint string }{
		{"init --data x --layout 41/10", "41/10/12"},
		{"init --data x --node-ids 9-3", "0-1023"},
		{"init --data x leftover", "--help"},
		{"serve --data :memory: --log-format xml", "text or json"},
		{"serve --data :memory: --log-level loud", "debug, info, warn or error"},
		{"serve --data :memory: --ttl soon", "--ttl"},
		{"serve --data :memory: --listen=", "127.0.0.1:50051"},
		{"serve --data :memory: --max-connections 0", "1 or more"},
		{"serve --data :memory: --max-connections-per-address -1", "a quarter"},
		{"serve --data :memory: --allowed-origins console.example", "https://console.example"},
		{"serve --data :memory: --allowed-hosts cirrus.example:50051", "without a port"},
		{"serve", "--data is missing"},
		{"serve --store disk --data :memory: --listen=", "pebble or etcd"},
		{"serve --store etcd --data :memory: --listen=", "--data is for a store in a directory"},
		{"serve --data :memory: --listen= --advertise http://a:1", "--advertise is for a store in etcd"},
		{"serve --store etcd --advertise http://a:1", "--etcd-endpoints is missing"},
		{"serve --store etcd --etcd-endpoints http://e:1", "--advertise is missing"},
		{"serve --store etcd --etcd-endpoints http://e:1 --advertise a:1", "without a path"},
		{"serve --store etcd --etcd-endpoints http://e:1 --advertise http://", "without a path"},
		{"serve --store etcd --etcd-endpoints http://e:1 --advertise ftp://a:1", "without a path"},
		{"serve --store etcd --etcd-endpoints http://e:1 --advertise http://a:1/cirrus", "without a path"},
		{"serve --store etcd --etcd-endpoints http://e:1 --advertise http://me@a:1", "without a path"},
		{"serve --store etcd --etcd-endpoints http://e:1 --advertise http://a:1?x=y", "without a path"},
		{"serve --store etcd --etcd-endpoints http://e:1 --advertise http://a:1 --etcd-session-ttl 0s", "1s or more"},
		{"serve --store etcd --etcd-endpoints http://e:1 --advertise http://a:1 --ttl 19s", "shorten the session TTL"},
		{"init --store etcd", "--etcd-endpoints is missing"},
		{"recover --store etcd", "--etcd-endpoints is missing"},
		{"recover --store etcd --etcd-endpoints http://e:1 --data x", "--data is for a store in a directory"},
		{"migrate", "give --from DIR and --to-etcd, or"},
		{"migrate --from a --to b", "give --from DIR and --to-etcd, or"},
		{"migrate --from-etcd --to-etcd", "give --from DIR and --to-etcd, or"},
		{"migrate --from a --to-etcd --to b", "give --from DIR and --to-etcd, or"},
		{"migrate --from a --to-etcd", "--etcd-endpoints is missing"},
		{"migrate --from-etcd --to b", "--etcd-endpoints is missing"},
		{"ids --format octal", "dec, base32 or json"},
		{"ids --rate -3", "--rate"},
		{"ids --wait 0s", "--wait"},
		{"ids 5", "--help"},
		{"run --app a", "--help"},
		{"run --app a --grace -1s -- true", "--grace"},
		{"run --app a --wait 0s -- true", "--wait"},
		{"acquire --app a --ttl soon", "--ttl"},
		{"acquire --app a -o xml", "table or json"},
		{"acquire a", "--help"},
		{"heartbeat --epoch 1 --instance-id 0123456789abcdef", "--node-id is missing"},
		{"heartbeat --node-id 1 --instance-id 0123456789abcdef", "--epoch is missing"},
		{"heartbeat --node-id 1 --epoch 1", "--instance-id is missing"},
		{"heartbeat --node-id -1 --epoch 1 --instance-id 0123456789abcdef", "--node-id"},
		{"heartbeat --node-id 4294967296 --epoch 1 --instance-id 0123456789abcdef", "--node-id"},
		{"release --node-id 1 --epoch 1", "--instance-id is missing"},
		{"release --node-id 1 --epoch 1 --instance-id 0123456789abcdef --last-timestamp now", "--last-timestamp"},
		{"ls --state gone", "held, quarantined or free"},
		{"ls -o yaml", "table or json"},
		{"ls default", "--help"},
		{"watch default", "--help"},
		{"revoke", "--help"},
		{"revoke 0 1 --epoch 1", "--help"},
		{"revoke zero --epoch 1", "no node ID"},
		{"revoke 4294967296 --epoch 1", "no node ID"},
		{"revoke 0", "--epoch is missing"},
		{"revoke 0 --epoch -1", "--epoch"},
		{"free", "--help"},
		{"free zero --epoch 1 --yes", "no node ID"},
		{"free 0 --yes", "--epoch is missing"},
		{"free 0 --epoch 1", "--yes is missing"},
		{"free 0 --epoch 1 --last-timestamp now --yes", "--last-timestamp"},
		{"pools drop eu", "--help"},
		{"pools create", "--help"},
		{"pools create a b", "--help"},
		{"pools create a --node-ids some", "0-1023"},
		{"pools create a --layout 41", "41/10/12"},
		{"pools update", "--help"},
		{"pools get", "--help"},
		{"pools ls all", "--help"},
		{"decode", "--help"},
		{"decode 1 x", `"x"`},
		{"decode 12x", `"12x"`},
		{"decode 9223372036854775808", "2^63"},
		{"decode 18446744073709551616", "2^64"},
		{"decode -- -4611686018427387904", "negative"},
		{"decode 1.54182E+18", "lost its last digits"},
		{"decode -- -1", `"-1"`},
		{"decode 8ZZZZZZZZZZZZ", "2^63"},
		{"decode 1 --layout 0/10/10", "no timestamp bits"},
		{"decode 1 --layout 42/11/12", "64 at most"},
		{"decode 1 --unit 1us", "10ms"},
		{"decode 1 --layout 41/10/12 --pool long", "leave one of them out"},
		{"version now", "--help"},
		{"completion tcsh", "--help"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			var stdout, stderr strings.Builder
			code := run(strings.Fields(tc.args), strings.NewReader(""), &stdout, &stderr)
			said := stderr.String()
			if code != exit.WrongUsage || !strings.Contains(said, tc.hint) {
				t.Errorf("exit code %d, want %d, and %q in %q", code, exit.WrongUsage, tc.hint,
					said)
			}
			if !strings.HasPrefix(said, "cirrus: ") || strings.Count(said, "\n") != 1 ||
				stdout.Len() > 0 {
				t.Errorf("stderr is %q and stdout %q, want one line and nothing", said,
					stdout.String())
			}
		})
	}
}

// TestFlagsOfEtcd checks that serve refuses each flag for a store in etcd if
// the store is in a directory.
func TestFlagsOfEtcd(t *testing.T) {
	serve, _, err := newRoot().Find([]string{"serve"})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	serve.Flags().VisitAll(func(f *pflag.Flag) {
		if !strings.HasPrefix(f.Name, "etcd-") {
			return
		}
		seen++
		value := f.DefValue
		if value == "" || value == "[]" {
			value = "x"
		}
		var stderr strings.Builder
		code := run([]string{"serve", "--data", location.Memory, "--listen=", "--" + f.Name, value},
			strings.NewReader(""), io.Discard, &stderr)
		if want := "--" + f.Name + " is for a store in etcd"; code != exit.WrongUsage ||
			!strings.Contains(stderr.String(), want) {
			t.Errorf("exit code %d, want %d, and %q in %q", code, exit.WrongUsage, want,
				stderr.String())
		}
	})
	if seen < 8 {
		t.Errorf("there are only %d flags for a store in etcd, want 8 or more", seen)
	}
}
