package contract_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// plain matches words with other meanings too: a literal "activator" elsewhere need not be the contract's.
var plain = regexp.MustCompile(`^[a-z]*$|^ $`)

// unmistakable are the plain words that mean nothing else in this repository.
var unmistakable = map[string]bool{"pods": true}

// homonyms stand elsewhere with another meaning.
var homonyms = map[string]string{
	"NoRevision":     "a finding of explain",
	"Unreachable":    "a finding of explain",
	"RevisionFailed": "the reason of a condition, by Knative's name",
}

// A text that two processes write and read must not stand in the code of both: whoever changed one of them would break the other.
func TestEachTextStandsOnce(t *testing.T) {
	ours := map[string]string{}
	for text, places := range literals(t, ".") {
		if plain.MatchString(text) && !unmistakable[text] {
			continue
		}
		if len(places) > 1 {
			t.Errorf("%q is written more than once: %v", text, places)
		}
		ours[text] = places[0]
	}
	if len(ours) < 30 {
		t.Fatalf("found only %d texts of the contract: %v", len(ours), ours)
	}
	for text, places := range literals(t, "..") {
		for _, at := range places {
			if ours[text] != "" && homonyms[text] == "" && !strings.HasPrefix(at, filepath.Join("..", "contract")) {
				t.Errorf("%s: %q is part of the contract (%s): use its constant", at, text, ours[text])
			}
		}
	}
}

// literals returns the string literals of the Go files below root, without tests, imports and struct tags, and where each stands. What
// may be the name of a header is in lower case.
func literals(t *testing.T, root string) map[string][]string {
	t.Helper()
	files := token.NewFileSet()
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			if path == filepath.Join(root, "test") || entry.Name() == "testdata" || len(entry.Name()) > 2 && entry.Name()[0] == '.' {
				return filepath.SkipDir
			}
			return nil
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ImportSpec:
				return false
			case *ast.Field:
				n.Tag = nil
			case *ast.BasicLit:
				text, err := strconv.Unquote(n.Value)
				if err != nil || n.Kind != token.STRING {
					return true
				}
				if strings.Contains(text, "-") {
					text = strings.ToLower(text)
				}
				at := files.Position(n.Pos())
				found[text] = append(found[text], at.Filename+":"+strconv.Itoa(at.Line))
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
