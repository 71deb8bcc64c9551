package main

import "github.com/spf13/cobra"

// setUpCompletion makes cobra's own command follow our rules: it has an example,
// and a shell that it doesn't know is a usage error. Call it once all other
// commands are there.
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
