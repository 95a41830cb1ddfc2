package envoy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// Version is a version of Envoy.
type Version struct{ Major, Minor, Patch int }

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Compare is -1 if v is older than w, +1 if it is newer.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

// Oldest is the oldest version that understands all that Sluice sends. Versions newer than the tested ones are accepted.
var Oldest = Version{1, 36, 0}

// AsksForLateScopes is the first version that asks for scopes (SRDS) also when its first listener with scopes comes after its start. An
// older one never does, answers 404 for every host of that listener, and must be restarted.
var AsksForLateScopes = Version{1, 38, 0}

// versionTimeout bounds how long a binary may take to print its version: it loads 100 MB, perhaps from a slow disk.
const versionTimeout = 30 * time.Second

// versionLine is what --version prints: the commit, the version, the state of the sources, the kind of build and the TLS library.
var versionLine = regexp.MustCompile(`version: [^/\s]+/(\d+\.\d+\.\d+)[^/\s]*/`)

// Check asks an Envoy for its version. The error says in a sentence why it cannot be the gateway.
func Check(ctx context.Context, path string) (Version, error) {
	bounded, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	command := exec.CommandContext(bounded, path, "--version")
	command.WaitDelay = time.Second // for what a child of its own keeps open
	out, err := command.CombinedOutput()
	var v Version
	switch found := versionLine.FindSubmatch(out); {
	case ctx.Err() != nil:
		return v, ctx.Err()
	case bounded.Err() != nil:
		return v, fmt.Errorf("%s does not print its version within %v, so it is no Envoy", path, versionTimeout)
	case found == nil:
		return v, fmt.Errorf("%s is no Envoy: asked for its --version it %s", path, answered(out, err))
	default:
		if _, err := fmt.Sscanf(string(found[1]), "%d.%d.%d", &v.Major, &v.Minor, &v.Patch); err != nil {
			return v, fmt.Errorf("reading the version of %s: %w", path, err)
		}
	}
	if v.Compare(Oldest) < 0 {
		return v, fmt.Errorf("%s is Envoy %v: Sluice works with %d.%d and newer", path, v, Oldest.Major, Oldest.Minor)
	}
	return v, nil
}

// answered says what a program did instead of telling a version.
func answered(out []byte, err error) string {
	text, _, _ := strings.Cut(strings.TrimSpace(strings.ToValidUTF8(string(out), "?")), "\n")
	var status *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &status):
		return fmt.Sprintf("cannot be run (%v)", err)
	case text == "" && err != nil:
		return fmt.Sprintf("ends with %v", err)
	case text == "":
		return "prints nothing"
	default:
		return fmt.Sprintf("prints %.200q", text)
	}
}
