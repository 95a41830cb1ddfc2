package rollout

import (
	"crypto/md5" //nolint:gosec // Knative's names are made with it; nothing is kept secret by it
	"encoding/hex"
	"fmt"
	"strings"
)

// Bounds of a Kubernetes name that is also a DNS label.
const (
	longestName = 63
	hashLength  = 2 * md5.Size
	headLength  = longestName - hashLength
)

// ChildName returns the name of an object that belongs to parent: parent+suffix. A name of more than 63 characters is cut and gets the
// MD5 of the whole, exactly as in Knative (knative.dev/pkg/kmeta.ChildName), so that users of Knative find the same names.
func ChildName(parent, suffix string) string {
	if len(parent)+len(suffix) <= longestName {
		return parent + suffix
	}
	if len(suffix) < headLength {
		return parent[:headLength-len(suffix)] + hash(parent) + suffix
	}
	name := parent[:min(len(parent), headLength)] + hash(parent+suffix)
	name += suffix[:longestName-len(name)]
	return strings.TrimRightFunc(name, func(r rune) bool { return !alphanumeric(r) })
}

// RevisionName returns the name that a revision gets when its template gives none: NAME-00001, by generation.
func RevisionName(configuration string, generation int64) string {
	return ChildName(configuration, fmt.Sprintf("-%05d", generation))
}

func hash(s string) string {
	sum := md5.Sum([]byte(s)) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

func alphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}
