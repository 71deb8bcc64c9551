package main

import (
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Marks at a flag that the command line didn't give: where its value is from,
// and what the config file said.
const (
	sourceOf  = "source"
	fileValue = "file-value"
)

// source is where a flag's value is from.
type source string

const (
	fromDefault     source = "its default"
	fromCommandLine source = "the command line"
	fromEnvironment source = "the environment"
	fromFile        source = "the config file"
)

// setSource notes where a flag's value is from, and the value itself if it is
// from the file.
func setSource(f *pflag.Flag, s source, value string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[sourceOf] = []string{string(s)}
	if s == fromFile {
		f.Annotations[fileValue] = []string{value}
	}
}

// sourceFor says where a flag's value is from.
func sourceFor(f *pflag.Flag) source {
	if s := f.Annotations[sourceOf]; len(s) > 0 {
		return source(s[0])
	}
	if f.Changed {
		return fromCommandLine
	}
	return fromDefault
}

// reloadAtHangup looks at the config file again at each SIGHUP, until the
// function that it returns is called. Nothing else can have changed: neither a
// process's flags nor its environment do.
func reloadAtHangup(cmd *cobra.Command, log *slog.Logger, level *slog.LevelVar) (end func()) {
	hangups, stop, done := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		defer close(done)
		for {
			select {
			case <-hangups:
				reload(cmd, log, level)
			case <-stop:
				return
			}
		}
	}()
	return func() { close(stop); <-done }
}

// reload sets what can be set while the service runs, which is the log's level,
// and names what the file has changed beside it.
func reload(cmd *cobra.Command, log *slog.Logger, level *slog.LevelVar) {
	settings, err := readFile(cmd)
	if err != nil {
		log.Error("the settings can't be read again, so they stay as they are", "error", err)
		return
	}
	f := cmd.Flags().Lookup("log-level")
	from := sourceFor(f)
	if from == fromDefault || from == fromFile {
		text := f.DefValue
		if from = fromDefault; settings[f.Name] != "" {
			text, from = settings[f.Name], fromFile
		}
		if err := setLevel(level, text); err != nil {
			log.Error("the log level can't be set, so it stays as it is", "error", err, "from", string(from))
			return
		}
	}
	// A warning, so that it is seen at any level but error.
	log.Warn("settings were read again at SIGHUP", "log_level", strings.ToLower(level.Level().String()), "from", string(from))
	if changed := changedSettings(cmd, settings); len(changed) > 0 {
		log.Warn("the config file has changed in what is only read at the start: restart to apply it", "settings", strings.Join(changed, ","))
	}
}

// changedSettings names the settings of a command, but for the log level, that
// are from the file and differ there now.
func changedSettings(cmd *cobra.Command, now map[string]string) []string {
	changed := map[string]bool{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		from := sourceFor(f)
		if f.Name == "log-level" || notSettings[f.Name] || from != fromFile && from != fromDefault {
			return
		}
		if before := f.Annotations[fileValue]; now[f.Name] != strings.Join(before, "") {
			changed[f.Name] = true
		}
	})
	return slices.Sorted(maps.Keys(changed))
}
