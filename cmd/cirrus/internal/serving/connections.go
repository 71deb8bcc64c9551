package serving

import (
	"fmt"
	"log/slog"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/files"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/service"
)

const (
	// maxConnections is the default of --max-connections: how many connections the
	// port of the API has at most.
	maxConnections = 16384
	// sideConnections is how many connections the port for metrics and health has at
	// most.
	sideConnections = 64
	// storeFiles is how many file descriptors are kept for the store and everything
	// else but connections. peerFiles is how many more are kept for connections to
	// etcd and to other replicas.
	storeFiles, peerFiles = 256, 256
)

// AddConnections adds the flags that limit connections.
func AddConnections(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Int("max-connections", maxConnections,
		"how many connections there may be at --listen; fewer where the process may not open as many "+
			"files")
	f.Int("max-connections-per-address", 0,
		"how many of them one remote address may have, loopback excepted; 0: a quarter")
	f.StringSlice("allowed-origins", nil,
		"`origins` of web pages whose requests are answered, comma-separated, such as "+
			"https://console.example; those of all others are refused")
	f.StringSlice("allowed-hosts", nil,
		"`names` by which clients may ask for a service that listens on loopback, comma-separated, "+
			"beside localhost, loopback addresses and the one in --advertise")
}

// Limits are the limits of both ports.
type Limits struct{ API, Side service.ConnectionLimit }

// ConnectionLimits returns the limits that the flags ask for, or less if the process
// may not open enough files.
func ConnectionLimits(cmd *cobra.Command, replica bool, log *slog.Logger) (Limits, error) {
	f := cmd.Flags()
	most, err := f.GetInt("max-connections")
	if err != nil {
		return Limits{}, err
	}
	share, err := f.GetInt("max-connections-per-address")
	if err != nil {
		return Limits{}, err
	}
	if most < 1 {
		return Limits{}, exit.Usagef("--max-connections %d: give 1 or more", most)
	}
	if share < 0 {
		return Limits{}, exit.Usagef(
			"--max-connections-per-address %d: give 1 or more, or 0 for a quarter of --max-connections",
			share)
	}
	open := files.OpenLimit()
	api, side := connectionsFor(open, most, replica)
	if api < most && flags.Given(f, "max-connections") {
		log.Warn(
			"the process may not open enough files for --max-connections, so there will be fewer: "+
				"raise its limit (ulimit -n, LimitNOFILE)",
			"asked", most, "connections", api, "files", open)
	}
	return Limits{
		API:  service.ConnectionLimit{Listener: "api", Most: api, PerAddress: min(share, api)},
		Side: service.ConnectionLimit{Listener: "metrics", Most: side, PerAddress: side},
	}, nil
}

// connectionsFor returns how many connections each port may have if the process may
// open this many files; 0: any number. At least half of the files stay for other
// uses if there are few.
func connectionsFor(files uint64, most int, replica bool) (api, side int) {
	if files == 0 {
		return most, sideConnections
	}
	rest := uint64(storeFiles)
	if replica {
		rest += peerFiles
	}
	rest = min(rest, files/2)
	ours := min(uint64(sideConnections), max(files/8, 2))
	return int(min(uint64(most), max(files-min(files, rest+ours), 1))), int(ours)
}

// Browsers returns the web pages and host names that the flags allow.
func Browsers(cmd *cobra.Command) (*service.Browsers, error) {
	f := cmd.Flags()
	origins, err := f.GetStringSlice("allowed-origins")
	if err != nil {
		return nil, err
	}
	hosts, err := f.GetStringSlice("allowed-hosts")
	if err != nil {
		return nil, err
	}
	advertise, err := f.GetString("advertise")
	if err != nil {
		return nil, err
	}
	if u, err := url.Parse(advertise); err == nil && u.Hostname() != "" {
		hosts = append(hosts, u.Hostname())
	}
	b, err := service.NewBrowsers(origins, hosts)
	if err != nil {
		return nil, exit.Usage(fmt.Errorf("--allowed-origins, --allowed-hosts: %w", err))
	}
	return b, nil
}
