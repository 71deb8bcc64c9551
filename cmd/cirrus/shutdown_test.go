package main

import (
	"io"
	"log/slog"
	"testing"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/location"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/serving"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/steady"
	"github.com/cirrus-id/cirrus/service"
)

// The time limit of serve's shutdown starts before anything is closed (S9), also if the
// shutdown comes from an error of the service or of a listener.
func TestEveryShutdownIsLimited(t *testing.T) {
	for name, spoil := range map[string]func(cfg *service.Config, listen *string){
		"the service": func(cfg *service.Config, _ *string) { cfg.Stride = 1 },
		"a listener":  func(_ *service.Config, listen *string) { *listen = "nowhere" },
	} {
		t.Run(name, func(t *testing.T) {
			cmd := newServe()
			cmd.SetContext(t.Context())
			cmd.SetOut(io.Discard)
			cmd.SetErr(io.Discard)
			log := slog.New(slog.DiscardHandler)
			cfg, listen := service.Config{Steady: steady.New().Exact(), Logger: log,
				Stride: fencing.DefaultStride}, "127.0.0.1:0"
			spoil(&cfg, &listen)
			if err := cmd.ParseFlags([]string{"--data", location.Memory, "--metrics-listen", "",
				"--listen", listen}); err != nil {
				t.Fatal(err)
			}
			st, err := openStore(cmd, &cfg)
			if err != nil {
				t.Fatal(err)
			}
			limited := 0
			if err := serveOpened(cmd, cfg, serving.Limits{}, func() { limited++ }); err == nil {
				t.Error("serveOpened returned nil, want an error")
			}
			if limited != 1 {
				t.Errorf("the time limit was started %d times, want once", limited)
			}
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
