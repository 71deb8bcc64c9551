package sim

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestPromisesAreTold: each promise has a sentence, and a row in the documentation.
func TestPromisesAreTold(t *testing.T) {
	source, err := os.ReadFile("oracle/promises.go")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile("../docs/simulation.md")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`Promise = "([^"]+)"`).FindAllSubmatch(source, -1)
	if got := len(Promises()); got != len(declared) {
		t.Errorf("Promises has %d, and %d are declared", got, len(declared))
	}
	for _, d := range declared {
		p := Promise(d[1])
		if p.Means() == "" {
			t.Errorf("%s has no sentence", p)
		}
		if p != PromiseCanary && !strings.Contains(string(docs), "\n| "+string(p)+" | ") {
			t.Errorf("docs/simulation.md has no row for %s", p)
		}
	}
}
