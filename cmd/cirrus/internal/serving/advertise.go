package serving

import (
	"log/slog"
	"net"
	"net/url"
	"strings"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/spf13/cobra"
)

// Advertised returns the value of --advertise: the base URL at which the other
// replicas reach this one.
func Advertised(cmd *cobra.Command, log *slog.Logger) (string, error) {
	text, err := cmd.Flags().GetString("advertise")
	if err != nil {
		return "", err
	}
	if text == "" {
		return "", exit.Usagef(
			"--advertise is missing: give the URL at which the other replicas reach this one, such as " +
				"--advertise http://cirrus-1:50051")
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", exit.Usagef(
			"--advertise %q: give an http:// or https:// URL without a path, such as http://cirrus-1:50051",
			text)
	}
	if here(u.Hostname()) {
		log.Warn(
			"replicas on other machines can't reach this one at the address that it advertises: "+
				"give one that leads here from everywhere", "advertise", text)
	}
	return u.Scheme + "://" + u.Host, nil
}

// here reports whether a host stands for the machine on which it is used.
func here(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip.IsLoopback() || ip.IsUnspecified()
}
