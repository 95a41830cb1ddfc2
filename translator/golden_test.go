package translator_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
)

var update = flag.Bool("update", false, "rewrite the expected output of the cases in testdata")

// TestGolden holds every case in testdata: the World above, what it becomes below.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no cases in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { runGolden(t, file) })
	}
}

func runGolden(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) == 0 || archive.Files[0].Name != "world.yaml" {
		t.Fatalf("%s does not begin with world.yaml", file)
	}
	out := translator.Translate(readWorld(t, archive.Files[0].Data), nil)
	resources, err := out.YAML()
	if err != nil {
		t.Fatal(err)
	}
	var problems strings.Builder
	for _, p := range out.Problems {
		fmt.Fprintln(&problems, p.Error())
	}
	got := []txtar.File{archive.Files[0], {Name: "problems", Data: []byte(problems.String())}, {Name: "resources.yaml", Data: resources}}
	if *update {
		archive.Files = got
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(txtar.Format(&txtar.Archive{Files: archive.Files})),
		string(txtar.Format(&txtar.Archive{Files: got}))); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", file, diff)
	}
}

func readWorld(t *testing.T, text []byte) *model.World {
	t.Helper()
	w := &model.World{}
	if err := yaml.UnmarshalStrict(text, w); err != nil {
		t.Fatalf("reading the World: %v", err)
	}
	return w
}
