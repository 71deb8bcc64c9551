package flags

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	yamlv3 "go.yaml.in/yaml/v3"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
)

// envPrefix is the prefix of all environment variables that are read.
const envPrefix = "CIRRUS_"

// notSettings are the flags that the config file can't set, nor the environment.
var notSettings = map[string]bool{"config": true, "help": true, "yes": true}

// explicitMark is the annotation of flags that only the command line can set: those
// that protect from a mistake.
const explicitMark = "explicit"

// MustBeExplicit lets only the command line set a flag.
func MustBeExplicit(cmd *cobra.Command, flag string) {
	f := cmd.Flags().Lookup(flag)
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[explicitMark] = []string{"yes"}
}

// Configure sets the flags that the command line did not set: from the environment,
// else from the config file. It looks up only names of flags, so it ignores other
// variables, such as the CIRRUS_PORT that Kubernetes injects for a Service named
// cirrus.
func Configure(cmd *cobra.Command) error {
	settings, err := ReadFile(cmd)
	if err != nil {
		return exit.Usage(err)
	}
	var problems []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || notSettings[f.Name] || len(f.Annotations[explicitMark]) > 0 {
			return
		}
		from, named, value := fromEnvironment, envName(f.Name), fromEnv(f)
		if value == "" {
			from, named, value = FromFile, "config file: "+f.Name, settings[f.Name]
		}
		if value == "" {
			return
		}
		if err := cmd.Flags().Set(f.Name, value); err != nil {
			problems = append(problems, exit.Usagef("%s=%q: %v", named, value, errors.Unwrap(err)))
		}
		setSource(f, from, value)
	})
	return errors.Join(problems...)
}

// SetByRun is the variable in which `cirrus run` lists the variables that it sets
// for its child.
const SetByRun = "CIRRUS_SET_BY_RUN"

// fromEnv returns the value of a flag in the environment, "" if there is none.
// Variables by which `cirrus run` tells its child of the lease are not settings: a
// cirrus that the child starts may work on another lease or pool.
func fromEnv(f *pflag.Flag) string {
	name := envName(f.Name)
	value := os.Getenv(name)
	if slices.Contains(strings.Fields(os.Getenv(SetByRun)), name+"="+value) {
		return ""
	}
	return value
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// oneDocument parses YAML and refuses a second document, which koanf's parser would
// drop without an error.
type oneDocument struct{ yaml.YAML }

// Unmarshal implements koanf.Parser.
func (p *oneDocument) Unmarshal(text []byte) (map[string]any, error) {
	documents := yamlv3.NewDecoder(bytes.NewReader(text))
	var first, second yamlv3.Node
	if err := documents.Decode(&first); err == nil {
		if err := documents.Decode(&second); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf(
				"line %d begins a second YAML document (---): put all settings into one",
				second.Line)
		}
	}
	return p.YAML.Unmarshal(text)
}

// ConfigFile returns the path that --config or CIRRUS_CONFIG names, or "".
func ConfigFile(cmd *cobra.Command) (string, error) {
	path, err := cmd.Flags().GetString("config")
	if err == nil && path == "" {
		path = os.Getenv(envName("config"))
	}
	return path, err
}

// ReadFile reads the config file. Its keys are names of flags of this command or of
// other commands, so that all commands can share the file.
func ReadFile(cmd *cobra.Command) (map[string]string, error) {
	path, err := ConfigFile(cmd)
	if err != nil || path == "" {
		return nil, err
	}
	k := koanf.New(".")
	if err := k.Load(file.Provider(path), &oneDocument{}); err != nil {
		return nil, fmt.Errorf("the config file %q can't be read: %w", path, err)
	}
	known := map[string]bool{}
	for _, c := range Commands(cmd.Root()) {
		c.Flags().VisitAll(func(f *pflag.Flag) { known[f.Name] = !notSettings[f.Name] })
	}
	settings := map[string]string{}
	for _, key := range k.Keys() {
		if !known[key] {
			return nil, fmt.Errorf(
				"the config file %q has an unknown key %q: give names of flags, such as max-ttl",
				path, key)
		}
		settings[key] = k.String(key)
		if list := k.Strings(key); len(list) > 0 { // such as etcd-endpoints
			settings[key] = strings.Join(list, ",")
		}
	}
	return settings, nil
}
