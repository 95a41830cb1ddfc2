package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// widest is how many characters a line of prose has at most, as a line of code does.
const widest = 140

// TestLinesOfProseAreNotTooLong checks the Markdown of the project. Tables and code may be wider.
func TestLinesOfProseAreNotTooLong(t *testing.T) {
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" || entry.IsDir() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fenced := false
		for i, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "```") {
				fenced = !fenced
			}
			if fenced || strings.HasPrefix(line, "|") || strings.HasPrefix(line, "    ") {
				continue
			}
			if n := utf8.RuneCountInString(line); n > widest {
				t.Errorf("%s:%d has %d characters, at most %d are read well", path, i+1, n, widest)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
