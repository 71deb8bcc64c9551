package main

import "github.com/spf13/cobra"

// setUpCompletion makes cobra's completion command follow our rules: it has an
// example, and an unknown shell is wrong usage. All other commands must have been
// added before.
func setUpCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		cmd.Short = "Print a script that completes cirrus's commands in a shell"
		cmd.Example = `  source <(cirrus completion bash)
  cirrus completion zsh > "${fpath[1]}/_cirrus"`
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		for _, shell := range cmd.Commands() {
			shell.Example = "  cirrus completion " + shell.Name()
		}
	}
}
