package main

import (
	"io"
	"log/slog"
	"testing"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/serving"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/steady"
	"github.com/cirrus-id/cirrus/service"
)

// Whatever ends serve, its end is bounded before anything is closed (S9): an error
// of the service, and one of its listeners.
func TestEveryEndIsBounded(t *testing.T) {
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
			cfg, listen := service.Config{Steady: steady.New().Exact(), Logger: log, Stride: fencing.DefaultStride}, "127.0.0.1:0"
			spoil(&cfg, &listen)
			if err := cmd.ParseFlags([]string{"--data", memory, "--metrics-listen", "", "--listen", listen}); err != nil {
				t.Fatal(err)
			}
			st, err := openStore(cmd, &cfg)
			if err != nil {
				t.Fatal(err)
			}
			bounded := 0
			if err := serveOpened(cmd, cfg, serving.Limits{}, func() { bounded++ }); err == nil {
				t.Error("it has served")
			}
			if bounded != 1 {
				t.Errorf("its end was bounded %d times, want once", bounded)
			}
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
