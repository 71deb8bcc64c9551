package main

import (
	"log/slog"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// quiet is for commands whose output is their own.
var quiet = slog.New(slog.DiscardHandler)

func addLog(cmd *cobra.Command) {
	cmd.Flags().String("log-format", "text", "text or json, on stderr")
	cmd.Flags().String("log-level", "info", "debug, info, warn or error")
}

func newLogger(cmd *cobra.Command) (*slog.Logger, error) {
	format, err := cmd.Flags().GetString("log-format")
	if err != nil {
		return nil, err
	}
	text, err := cmd.Flags().GetString("log-level")
	if err != nil {
		return nil, err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return nil, usagef("--log-level %q: give debug, info, warn or error", text)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), opts)), nil
	}
	return nil, usagef("--log-format %q: give text or json", format)
}

// version is the module's, or the revision that was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}
