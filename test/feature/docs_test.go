package feature

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documents returns all pages of the documentation.
func documents(t *testing.T) []string {
	t.Helper()
	root := absolute(t, ".")
	pages, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

var (
	link    = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	command = regexp.MustCompile(`(?m)^ {4}((?:sluice|go run \./cmd/sluice) .*)$`)
	mention = regexp.MustCompile("`((?:examples|test|crds|standalone|dataplane|cmd|xds|translator|rollout|kube|docs)/[A-Za-z0-9_./-]+)`")
)

func TestDocumentsNameOnlyWhatExists(t *testing.T) {
	t.Parallel()
	for _, page := range documents(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", page, m[1])
			}
		}
		for _, m := range mention.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(absolute(t, m[1])); err != nil {
				t.Errorf("%s names %s, which does not exist", page, m[1])
			}
		}
	}
}

// Each row of the table of who can reach what names the tests that check it.
func TestSecurityNamesTheTestsThatHoldIt(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(absolute(t, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	err = filepath.WalkDir(absolute(t, "."), func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllStringSubmatch(string(source), -1) {
			there[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`")
	rows := regexp.MustCompile(`(?m)^\| .*\|$`).FindAllString(string(text), -1)
	table := 0
	for _, row := range rows {
		if cells := strings.Split(row, "|"); len(cells) == 6 && !strings.HasPrefix(row, "| who |") {
			table++
			if !named.MatchString(cells[4]) {
				t.Errorf("no test checks the row %s", row)
			}
		}
	}
	for _, m := range named.FindAllStringSubmatch(string(text), -1) {
		if !there[m[1]] {
			t.Errorf("docs/security.md names %s, which does not exist", m[1])
		}
	}
	if table < 10 {
		t.Errorf("the test found only %d rows", table)
	}
}

// The binary has every sluice command in the documents, with its flags.
func TestDocumentedCommandsAreKnown(t *testing.T) {
	t.Parallel()
	found := 0
	for _, page := range documents(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range command.FindAllStringSubmatch(string(text), -1) {
			line, _, _ := strings.Cut(m[1], "#")
			line, _, _ = strings.Cut(line, ">")
			line, _, _ = strings.Cut(line, "&")
			words := strings.Fields(strings.TrimPrefix(strings.TrimPrefix(line, "go run ./cmd/sluice"), "sluice"))
			if len(words) == 0 {
				continue
			}
			found++
			help := helpOf(t, words)
			for _, w := range words[1:] {
				if strings.HasPrefix(w, "-") && !strings.Contains(help, strings.Split(w, "=")[0]) {
					t.Errorf("%s: %q has the flag %s, which the command does not know", page, m[1], w)
				}
			}
		}
	}
	if found == 0 {
		t.Error("the test found no command in the documents")
	}
}

// helpOf returns the help of a command or subcommand.
func helpOf(t *testing.T, words []string) string {
	t.Helper()
	named := words
	if i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "-") }); i >= 0 {
		named = words[:i]
	}
	help, _ := run(t, append(slices.Clone(named), "--help")...)
	return help
}

// CI runs the test command of the README.
func TestReadmeNamesTheTestCommandThatCIRuns(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"README.md", ".ci/run"} {
		text, err := os.ReadFile(absolute(t, file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "make test") {
			t.Errorf("%s does not have `make test`", file)
		}
	}
}
