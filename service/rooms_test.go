package service

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// A room is a part of the package: the files with a prefix. Its files may name what
// its own files and those of the rooms below declare, and nothing else.
type room struct {
	prefix string
	below  []string
}

// The rooms, as doc.go names them. The ground is all other files.
var rooms = []room{
	{"", nil},
	{"lead_", []string{""}},
	{"forward_", []string{""}},
	{"replica_", []string{"", "lead_", "forward_"}},
	{"http_", []string{"", "lead_", "forward_", "replica_"}},
}

// roomOf returns the room of a file. service.go assembles the rooms, so it is of the
// replica's.
func roomOf(file string) room {
	if file == "service.go" {
		file = "replica_service.go"
	}
	for _, r := range rooms[1:] {
		if strings.HasPrefix(file, r.prefix) {
			return r
		}
	}
	return rooms[0]
}

func (r room) mayName(prefix string) bool {
	if prefix == r.prefix {
		return true
	}
	for _, below := range r.below {
		if prefix == below {
			return true
		}
	}
	return false
}

// upward returns the names in files that a room above, or beside, declares.
func upward(files map[string]*ast.File) (found []string) {
	declared := map[string]string{} // name → prefix of the room
	for name, f := range files {
		for object := range f.Scope.Objects {
			declared[object] = roomOf(name).prefix
		}
	}
	for name, f := range files {
		for _, id := range f.Unresolved { // names that the file does not declare
			if prefix, ok := declared[id.Name]; ok && !roomOf(name).mayName(prefix) {
				found = append(found, name+" names "+id.Name+" of the room "+prefix)
			}
		}
	}
	return found
}

// TestRooms wants no file to name what a room above or beside it declares.
func TestRooms(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	fset, files := token.NewFileSet(), map[string]*ast.File{}
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".go") &&
			!strings.HasSuffix(name, "_test.go") {
			if files[name], err = parser.ParseFile(fset, name, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, text := range upward(files) {
		t.Errorf("%s: a room uses only those below it (see doc.go)", text)
	}
	ok := len(upward(files))
	bad, err := parser.ParseFile(fset, "lead_bad.go", "package service\nfunc bad(*peer) {}", 0)
	if err != nil {
		t.Fatal(err)
	}
	files["lead_bad.go"] = bad
	if found := upward(files); len(found) != ok+1 {
		t.Errorf(
			"with a file of lead_ that names peer the report is %v, want one name more than without it", found)
	}
}
