package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version, the revision and the Go version",
		Example: `  cirrus version`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "cirrus %s\nrevision %s\n%s %s/%s\n",
				version(), cmp.Or(revision(), "unknown"), runtime.Version(), runtime.GOOS,
				runtime.GOARCH)
			return err
		},
	}
}

// revision returns the revision of the sources, or "" if the build does not know it.
func revision() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	switch {
	case settings["vcs.revision"] == "":
		return ""
	case settings["vcs.modified"] == "true":
		return settings["vcs.revision"] + ", with changes"
	}
	return settings["vcs.revision"]
}

// version returns the version of the module, or a pseudo-version for the revision
// that was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}
