package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// A station of a walk in ARCHITECTURE.md begins with a file and a function of it.
var (
	walks   = regexp.MustCompile(`(?s)## Three walks\n(.*?)\n## `)
	station = regexp.MustCompile("(?m)^\\d\\. `([^`]+)` `([^`]+)`")
	place   = regexp.MustCompile("`([a-z][\\w-]*(?:/[\\w.-]+)+)`")
)

func architecture(t *testing.T) string {
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWalksAreTrue(t *testing.T) {
	section := walks.FindStringSubmatch(architecture(t))
	if section == nil {
		t.Fatal("ARCHITECTURE.md has no walks")
	}
	stations := station.FindAllStringSubmatch(section[1], -1)
	if len(stations) != 18 {
		t.Errorf("the three walks have %d stations, want six each", len(stations))
	}
	for _, s := range stations {
		source, err := os.ReadFile(filepath.Join(root, s[1]))
		if err != nil {
			t.Errorf("a station is in no file: %v", err)
			continue
		}
		if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + regexp.QuoteMeta(s[2]) + `\(`).Match(source) {
			t.Errorf("%s has no function %s", s[1], s[2])
		}
	}
}

// TestPlacesExist checks the table "Where does X go?": each path in it exists.
func TestPlacesExist(t *testing.T) {
	_, table, _ := strings.Cut(architecture(t), "## Where does X go?")
	found := place.FindAllStringSubmatch(table, -1)
	if len(found) < 20 {
		t.Errorf("only %d places were found in the table", len(found))
	}
	for _, p := range found {
		if _, err := os.Stat(filepath.Join(root, p[1])); err != nil {
			t.Errorf("a place does not exist: %v", err)
		}
	}
}

// TestLayersAreWrittenDown checks that each row of the table of layers is also one of ARCHITECTURE.md.
func TestLayersAreWrittenDown(t *testing.T) {
	_, section, _ := strings.Cut(architecture(t), "## Layers")
	section, _, _ = strings.Cut(section, "| foreign thing |")
	written := strings.FieldsFunc(section, func(r rune) bool { return strings.ContainsRune(" ,;|():\n", r) })
	for name := range layers {
		if !slices.Contains([]string{"test", "examples", "crds/serving", "crds/networking", "crds/autoscaling", "cmd"}, name) &&
			!slices.Contains(written, name) {
			t.Errorf("package %s has no row in the table of layers of ARCHITECTURE.md", name)
		}
	}
}
