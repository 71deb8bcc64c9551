package output

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/internal/logwriter"
)

// NoLog is for commands whose output is their own.
var NoLog = slog.New(slog.DiscardHandler)

// Warnings is for a command that has no log, but should say on stderr what is
// wrong with the store.
func Warnings(cmd *cobra.Command) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func AddLog(cmd *cobra.Command) {
	cmd.Flags().String("log-format", "text", "text or json, on stderr")
	cmd.Flags().String("log-level", "info", "debug, info, warn or error; read again at SIGHUP")
}

// NewLogger returns the log that the flags describe, and its level, which can be
// set.
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
	tellGaps(out, handler)
	return slog.New(handler(out, &slog.HandlerOptions{Level: level})), level, nil
}

var handlers = map[string]func(io.Writer, *slog.HandlerOptions) slog.Handler{
	"text": func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(w, o) },
	"json": func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(w, o) },
}

func SetLevel(level *slog.LevelVar, text string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(text)); err != nil {
		return exit.Usagef("--log-level %q: give debug, info, warn or error", text)
	}
	level.Set(l)
	return nil
}

// Dropped counts the lines that a command lost on stderr and stdout; nil where
// none is ever lost.
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

// tellGaps has the log's writer say in the log's own format how many lines it
// dropped.
func tellGaps(out io.Writer, handler func(io.Writer, *slog.HandlerOptions) slog.Handler) {
	w, ok := out.(*logwriter.Writer)
	if !ok {
		return
	}
	w.SetNotice(func(n uint64) []byte {
		var line bytes.Buffer
		r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were dropped here: nobody read them in time", 0)
		r.Add("lines", n)
		_ = handler(&line, nil).Handle(context.Background(), r) // a buffer takes all
		return line.Bytes()
	})
}
