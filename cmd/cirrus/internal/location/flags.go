package location

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store/etcd"
)

// The values of --store.
const (
	OnPebble = "pebble" // a directory on one machine
	OnEtcd   = "etcd"   // a prefix in etcd, for several replicas
)

// Memory is the --data of a store in memory.
const Memory = ":memory:"

// ofEtcd are the flags that say where a store in etcd is, and how replicas share it. They
// are refused for a store in a directory.
var ofEtcd = []string{
	"etcd-endpoints", "etcd-prefix", "etcd-cacert", "etcd-cert", "etcd-key", "etcd-user",
	"etcd-password-file",
	"etcd-session-ttl", "advertise",
}

// AddFlags adds the flags that say where a store is, for both kinds.
func AddFlags(cmd *cobra.Command, data string) {
	cmd.Flags().String("store", OnPebble,
		"where the store is: pebble (in the directory --data, for one process) or etcd (for several "+
			"replicas)")
	cmd.Flags().String("data", "", data)
	AddEtcdFlags(cmd)
}

// AddEtcdFlags adds the flags that say where a store in etcd is.
func AddEtcdFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSlice("etcd-endpoints", nil,
		"`URLs` of etcd's members, comma-separated, such as https://etcd-1:2379")
	f.String("etcd-prefix", etcd.DefaultPrefix, "what all the store's keys in etcd begin with")
	f.String("etcd-cacert", "",
		"`file` with the certificates to check etcd's against (default: the system's)")
	f.String("etcd-cert", "", "`file` with a certificate to show to etcd")
	f.String("etcd-key", "", "`file` with that certificate's key")
	f.String("etcd-user", "", "`name` to log in to etcd with")
	f.String("etcd-password-file", "", "`file` with that user's password")
	f.Duration("etcd-session-ttl", etcd.DefaultSessionTTL,
		"how long replicas wait for a silent leader, in whole seconds; at most a quarter of any pool's "+
			"TTL, and the same for all replicas")
}

// AddStride adds the flag for the stride.
func AddStride(cmd *cobra.Command) {
	cmd.Flags().Duration("stride", fencing.DefaultStride,
		"how far ahead the mark is written, 100ms to 1h")
}

// Kind returns the value of --store. It returns an error if flags of the other kind are given:
// the user then expects another store to be served.
func Kind(cmd *cobra.Command) (string, error) {
	kind, err := cmd.Flags().GetString("store")
	if err != nil {
		return "", err
	}
	switch kind {
	case OnPebble:
		for _, name := range ofEtcd {
			if flags.Given(cmd.Flags(), name) {
				return "",
					exit.Usagef("--%s is for a store in etcd: add --store etcd, or leave it out",
						name)
			}
		}
	case OnEtcd:
		if flags.Given(cmd.Flags(), "data") {
			return "", exit.Usagef(
				"--data is for a store in a directory: leave it out, or leave out --store etcd")
		}
	default:
		return "", exit.Usagef("--store %q: give pebble or etcd", kind)
	}
	return kind, nil
}

// Directory returns the value of --data. It has no default, so that nobody serves a store
// by mistake.
func Directory(cmd *cobra.Command) (string, error) {
	dir, err := cmd.Flags().GetString("data")
	if err == nil && dir == "" {
		return "", exit.Usagef(
			"--data is missing: name the store's directory, such as --data ./cirrus-data")
	}
	return dir, err
}

// EtcdConfig returns what the flags say about a store in etcd.
func EtcdConfig(cmd *cobra.Command, log *slog.Logger) (etcd.Config, error) {
	f := cmd.Flags()
	endpoints, err := f.GetStringSlice("etcd-endpoints")
	if err != nil {
		return etcd.Config{}, err
	}
	if len(endpoints) == 0 {
		return etcd.Config{}, exit.Usagef(
			"--etcd-endpoints is missing: name etcd's members, such as --etcd-endpoints " +
				"http://127.0.0.1:2379")
	}
	cfg := etcd.Config{Endpoints: endpoints, Logger: log}
	for name, to := range map[string]*string{
		"etcd-prefix": &cfg.Prefix, "etcd-cacert": &cfg.CAFile, "etcd-cert": &cfg.CertFile,
		"etcd-key": &cfg.KeyFile, "etcd-user": &cfg.User,
	} {
		if *to, err = f.GetString(name); err != nil {
			return cfg, err
		}
	}
	if cfg.SessionTTL, err = sessionTTL(cmd); err != nil {
		return cfg, err
	}
	cfg.Password, err = password(cmd)
	return cfg, err
}

// sessionTTL returns the value of --etcd-session-ttl. It refuses 0, which would mean the
// default.
func sessionTTL(cmd *cobra.Command) (time.Duration, error) {
	ttl, err := cmd.Flags().GetDuration("etcd-session-ttl")
	if err == nil && ttl <= 0 {
		return 0, exit.Usagef("--etcd-session-ttl %v: give whole seconds, 1s or more", ttl)
	}
	return ttl, err
}

// password returns the content of the file that --etcd-password-file names, without the
// end of its line.
func password(cmd *cobra.Command) (string, error) {
	path, err := cmd.Flags().GetString("etcd-password-file")
	if err != nil || path == "" {
		return "", err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("the password for etcd can't be read (--etcd-password-file): %w", err)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("the file %s has no password in it (--etcd-password-file)", path)
	}
	return secret, nil
}
