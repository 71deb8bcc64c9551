package output

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/hint"
	"github.com/cirrus-id/cirrus/internal/logwriter"
)

// NoLog is the log of commands that print all that matters.
var NoLog = slog.New(slog.DiscardHandler)

// Warnings returns a log on stderr for commands without flags for a log. It has
// warnings and errors only.
func Warnings(cmd *cobra.Command) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(),
		&slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: hint.Attr}))
}

// AddLog adds the flags that describe the log.
func AddLog(cmd *cobra.Command) {
	cmd.Flags().String("log-format", "text", "text or json, on stderr")
	cmd.Flags().String("log-level", "info", "debug, info, warn or error; read again at SIGHUP")
}

// NewLogger returns the log that the flags describe, and its level, which can be
// changed.
func NewLogger(cmd *cobra.Command) (*slog.Logger, *slog.LevelVar, error) {
	format, err := cmd.Flags().GetString("log-format")
	if err != nil {
		return nil, nil, err
	}
	text, err := cmd.Flags().GetString("log-level")
	if err != nil {
		return nil, nil, err
	}
	level := &slog.LevelVar{}
	if err := SetLevel(level, text); err != nil {
		return nil, nil, err
	}
	handler := handlers[format]
	if handler == nil {
		return nil, nil, exit.Usagef("--log-format %q: give text or json", format)
	}
	out := cmd.ErrOrStderr()
	logGaps(out, handler)
	return slog.New(handler(out, &slog.HandlerOptions{Level: level, ReplaceAttr: hint.Attr})),
		level, nil
}

var handlers = map[string]func(io.Writer, *slog.HandlerOptions) slog.Handler{
	"text": func(w io.Writer, o *slog.HandlerOptions) slog.Handler {
		return slog.NewTextHandler(w, o)
	},
	"json": func(w io.Writer, o *slog.HandlerOptions) slog.Handler {
		return slog.NewJSONHandler(w, o)
	},
}

// SetLevel sets a log's level as --log-level names it.
func SetLevel(level *slog.LevelVar, text string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(text)); err != nil {
		return exit.Usagef("--log-level %q: give debug, info, warn or error", text)
	}
	level.Set(l)
	return nil
}

// Dropped returns a function that counts the lines that a command has dropped on
// stderr and stdout. It returns nil if the command never drops lines.
func Dropped(cmd *cobra.Command) func() uint64 {
	log, ok := cmd.ErrOrStderr().(*logwriter.Writer)
	if !ok {
		return nil
	}
	out, ok := cmd.OutOrStdout().(*logwriter.Writer)
	if !ok {
		return log.Dropped
	}
	return func() uint64 { return log.Dropped() + out.Dropped() }
}

// logGaps makes the log's writer log how many lines it dropped, in the log's own
// format.
func logGaps(out io.Writer, handler func(io.Writer, *slog.HandlerOptions) slog.Handler) {
	w, ok := out.(*logwriter.Writer)
	if !ok {
		return
	}
	w.SetNotice(func(n uint64) []byte {
		var line bytes.Buffer
		r := slog.NewRecord(time.Now(), slog.LevelWarn,
			"log lines were dropped here: nobody read them in time", 0)
		r.Add("lines", n)
		_ = handler(&line, nil).Handle(context.Background(), r) // writing to a buffer never fails
		return line.Bytes()
	})
}
