package service

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Browsers says which web pages may send requests, and by which names a listener on
// loopback may be addressed.
//
// No browser is a client of Cirrus, but every page that somebody opens can make a
// browser send requests, also to an address that only this machine or this network
// can reach. Two headers show it, and no page can forge them. Origin names the page
// on every POST. Host is the name by which the browser reached the server. On
// loopback a foreign name is that of a page whose name was made to resolve there (DNS
// rebinding): its reads have no Origin, since to the browser they are same-origin.
type Browsers struct {
	origins map[string]bool
	hosts   map[string]bool
}

// NewBrowsers returns a Browsers that lets pages of these origins send requests, such
// as "https://console.example", and loopback listeners be addressed by these names or
// IP addresses, without ports, beside those that always mean loopback.
func NewBrowsers(origins, hosts []string) (*Browsers, error) {
	b := &Browsers{origins: map[string]bool{}, hosts: map[string]bool{}}
	for _, text := range origins {
		u, err := url.Parse(text)
		if err != nil || u.Scheme == "" || u.Host == "" || text != u.Scheme+"://"+u.Host {
			return nil, fmt.Errorf(
				"the origin %s is none: give a scheme and a host, and the port unless it is the scheme's own, such as https://console.example", quoted(text))
		}
		b.origins[strings.ToLower(text)] = true
	}
	for _, text := range hosts {
		if hostName(text) != strings.ToLower(text) || strings.ContainsAny(text, "/*") ||
			text == "" {
			return nil, fmt.Errorf(
				"the host %s is none: give a name or an IP address, without a port, such as cirrus.example", quoted(text))
		}
		b.hosts[strings.ToLower(text)] = true
	}
	return b, nil
}

// hostName returns the name or IP address in a Host header.
func hostName(host string) string {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
