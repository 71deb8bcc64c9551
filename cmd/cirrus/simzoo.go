package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/sim/zoo"
)

func newSimZoo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "zoo",
		Short: "Plant bugs in Cirrus, and see that the simulator finds each",
		Long: `Zoo proves that the simulator would notice. It plants one bug after the other
into the code, builds it, and runs seeds until the check that the bug breaks has
found it. Controls, changes that do no harm, must stay green.

It needs the source tree, in which it changes nothing, and the go command.`,
		Example: `  cirrus sim zoo --list
  cirrus sim zoo
  cirrus sim zoo --sample 5 --starts 1 --no-controls`,
		RunE: runZoo,
	}
	f := cmd.Flags()
	f.StringSlice("only", nil, "`names` of the bugs to plant, comma-separated (default: all)")
	f.Int("sample", 0, "plant so many of them, as --start chooses (default: all)")
	f.Uint64("start", 1, "the first `seed`")
	f.Int("starts", 5, "how many hunts there are for each bug; the table shows the median")
	f.Int("jobs", 0, "how many bugs are hunted at once (default: one for each processor)")
	f.Bool("no-controls", false, "leave the controls out")
	f.Bool("markdown", false, "print the table as docs/simulation.md has it")
	f.Bool("list", false, "list the bugs, and plant none")
	f.String("dir", "", "the source `directory` (default: the working directory)")
	return cmd
}

func runZoo(cmd *cobra.Command, _ []string) error {
	f := cmd.Flags()
	if list, _ := f.GetBool("list"); list {
		return listBugs(cmd)
	}
	var o zoo.Options
	o.Dir, _ = f.GetString("dir")
	o.Only, _ = f.GetStringSlice("only")
	o.Sample, _ = f.GetInt("sample")
	o.Start, _ = f.GetUint64("start")
	o.Starts, _ = f.GetInt("starts")
	o.Jobs, _ = f.GetInt("jobs")
	o.NoControls, _ = f.GetBool("no-controls")
	if o.Sample < 0 || o.Starts < 0 || o.Jobs < 0 {
		return exit.Usagef("--sample, --starts and --jobs count something: give no number below 0")
	}
	o.Progress = func(found zoo.Finding) {
		// the table says it all again
		_, _ = fmt.Fprintln(output.File(cmd.ErrOrStderr()), strings.Join(found.Row(), "  "))
	}
	report, err := zoo.Run(cmd.Context(), o)
	interrupted := cmd.Context().Err() != nil
	if err != nil && !interrupted {
		return err
	}
	write := report.WriteTable
	if markdown, _ := f.GetBool("markdown"); markdown {
		write = report.WriteMarkdown
	}
	if err := write(cmd.OutOrStdout()); err != nil {
		return err
	}
	if interrupted {
		return fmt.Errorf("%w: %d bugs and %d controls were planted", errInterrupted,
			len(report.Bugs), len(report.Controls))
	}
	if err := report.Err(); err != nil {
		return fmt.Errorf("the zoo is not as it should be: %w", err)
	}
	return nil
}

func listBugs(cmd *cobra.Command) error {
	bugs, err := zoo.Bugs()
	if err != nil {
		return err
	}
	t := output.NewTable(cmd.OutOrStdout())
	t.Line([]string{"BUG", "RULE", "FOUND BY"})
	for _, b := range bugs {
		by := b.Found.Package + " " + b.Found.Test
		if b.Found.Test == "" {
			var promises []string
			for _, p := range b.Found.Promises {
				promises = append(promises, string(p))
			}
			by = strings.Join(promises, ", ")
		}
		t.Line([]string{b.Name, b.Rule, by})
	}
	return t.Flush()
}
