package session

import (
	"strconv"
	"strings"

	"sluice.dev/sluice/xds/offer"
)

// maxLogText is how many bytes of an error text are logged.
const maxLogText = 500

// brief is the beginning of an error text in one line, so that a client cannot fill the log.
func brief(text string) string {
	text = strings.Join(strings.Fields(text[:min(len(text), 2*maxLogText)]), " ")
	if len(text) > maxLogText {
		text = strings.ToValidUTF8(text[:maxLogText], "") + "…"
	}
	return text
}

// blame is the entries of a response that a NACK's text means: those whose index in the response or whose name the text gives. Else
// it may be any that the client has not acknowledged before, and else any; if these are several, it is not sure.
func blame(w *watch, r *response, text string) (found []*offer.Entry, sure bool) {
	if len(r.entries) <= 1 {
		return r.entries, true
	}
	if found := indexed(r.entries, text); len(found) > 0 {
		return found, true
	}
	fresh := make([]*offer.Entry, 0, len(r.changed))
	for _, e := range r.entries {
		if !offer.Same(w.lastAcked(e.Name), e) {
			fresh = append(fresh, e)
		}
	}
	if found := mentioned(fresh, text); len(found) > 0 {
		return found, true
	}
	if found := mentioned(r.entries, text); len(found) > 0 {
		return found, true
	}
	if len(fresh) > 0 {
		return fresh, len(fresh) == 1
	}
	return r.entries, false
}

// indexed is the entries whose indexes in the response the text gives. gRPC clients write them, and some write nothing else.
func indexed(entries []*offer.Entry, text string) []*offer.Entry {
	const mark = "resource index "
	var found []*offer.Entry
	seen := map[int]bool{}
	for {
		_, rest, ok := strings.Cut(text, mark)
		if !ok {
			return found
		}
		text = rest
		digits := 0
		for digits < len(rest) && '0' <= rest[digits] && rest[digits] <= '9' {
			digits++
		}
		if i, err := strconv.Atoi(rest[:digits]); err == nil && i < len(entries) && !seen[i] {
			seen[i] = true
			found = append(found, entries[i])
		}
	}
}

// mentioned is the entries whose names the text has as whole words.
func mentioned(entries []*offer.Entry, text string) []*offer.Entry {
	var found []*offer.Entry
	for _, e := range entries {
		if mentions(text, e.Name) {
			found = append(found, e)
		}
	}
	return found
}

func mentions(text, name string) bool {
	for rest := text; name != ""; {
		before, after, ok := strings.Cut(rest, name)
		if !ok {
			return false
		}
		if !endsInName(before) && !beginsInName(after) {
			return true
		}
		rest = after
	}
	return false
}

func endsInName(s string) bool { return s != "" && inName(s[len(s)-1]) }

// beginsInName is whether a text begins with more of a name. A full stop or colon that ends a clause is not part of it.
func beginsInName(s string) bool {
	if s != "" && (s[0] == '.' || s[0] == ':') {
		return len(s) > 1 && inName(s[1])
	}
	return s != "" && inName(s[0])
}

// inName is whether a byte can be part of a resource name.
func inName(b byte) bool {
	return b == '-' || b == '_' || b == '/' || b == '.' ||
		'0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}
