package flags

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
)

// AddPool adds the flag that names the pool.
func AddPool(cmd *cobra.Command) {
	cmd.Flags().String("pool", "default", "`name` of the pool")
}

// Given reports whether a flag was set: on the command line, in the environment or
// in the config file.
func Given(flags *pflag.FlagSet, name string) bool { return flags.Changed(name) }

// Required returns an error that names the first of the flags that was not set.
func Required(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if !Given(cmd.Flags(), name) {
			return exit.Usagef("--%s is missing: see `%s --help`", name, cmd.CommandPath())
		}
	}
	return nil
}

// Commands lists a command and all commands below it.
func Commands(cmd *cobra.Command) []*cobra.Command {
	cmds := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		cmds = append(cmds, Commands(sub)...)
	}
	return cmds
}
