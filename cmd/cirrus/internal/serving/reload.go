package serving

import (
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
)

// ReloadAtHangup reads the config file again at each SIGHUP, until the function that
// it returns is called. The flags and the environment of a process can't change.
func ReloadAtHangup(cmd *cobra.Command, log *slog.Logger, level *slog.LevelVar) (end func()) {
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

// reload sets what can be set while the service runs, which is the log's level, and
// logs which other settings have changed in the file.
func reload(cmd *cobra.Command, log *slog.Logger, level *slog.LevelVar) {
	settings, err := flags.ReadFile(cmd)
	if err != nil {
		log.Error("the settings can't be read again, so they stay as they are", "error", err)
		return
	}
	f := cmd.Flags().Lookup("log-level")
	from := flags.SourceOf(f)
	if from == flags.FromDefault || from == flags.FromFile {
		text := f.DefValue
		if from = flags.FromDefault; settings[f.Name] != "" {
			text, from = settings[f.Name], flags.FromFile
		}
		if err := output.SetLevel(level, text); err != nil {
			log.Error("the log level can't be set, so it stays as it is", "error", err,
				"from", string(from))
			return
		}
	}
	// A warning is seen at every level but error.
	log.Warn("settings were read again at SIGHUP", "log_level",
		strings.ToLower(level.Level().String()), "from", string(from))
	if changed := flags.ChangedSettings(cmd, settings); len(changed) > 0 {
		log.Warn(
			"the config file has changed in what is only read at the start: restart to apply it",
			"settings", strings.Join(changed, ","))
	}
}
