package contract

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A Signer proves to queue-proxies that a message is from an activator or a controller of their installation. Those have the token that it
// is made of. Queue-proxies have the public key, which everybody may know. A proof is about one revision, so a queue-proxy that gets one
// cannot use it elsewhere. A nil Signer has no token: its proofs are what Knative's activator sends, and no page takes them.
type Signer struct{ key ed25519.PrivateKey }

// A Key is what queue-proxies check proofs with. A nil Key takes what Knative's activator sends from everybody.
type Key ed25519.PublicKey

// NewSigner returns the Signer of a token, nil without a token. The same token makes the same Signer everywhere.
func NewSigner(token string) *Signer {
	if token == "" {
		return nil
	}
	seed := sha256.Sum256([]byte("sluice activator token " + token))
	return &Signer{key: ed25519.NewKeyFromSeed(seed[:])}
}

// Key returns the public key; nil for a nil Signer.
func (s *Signer) Key() Key {
	if s == nil {
		return nil
	}
	return Key(s.key.Public().(ed25519.PublicKey))
}

// String returns the key for ParseKey: base64; empty for a nil Key.
func (k Key) String() string { return base64.RawURLEncoding.EncodeToString(k) }

// ParseKey reads a Key; the empty text is a nil Key.
func ParseKey(text string) (Key, error) {
	if text == "" {
		return nil, nil
	}
	key, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("want %d bytes as base64 for URLs, without padding", ed25519.PublicKeySize)
	}
	return key, nil
}

// What a signature is about, so that none is taken for another.
const (
	aboutRequests = "proxied requests"
	aboutStreams  = "end of streams"
)

// knativeProxy is the value of ProxyHeader that Knative's activator sends. A proof follows it where there is a token.
const knativeProxy = "activator"

// ProxyProof returns the value of ProxyHeader for requests to a revision.
func (s *Signer) ProxyProof(namespace, revision string) string {
	if s == nil {
		return knativeProxy
	}
	return knativeProxy + " " + s.sign(aboutRequests, namespace, revision)
}

// ProvesProxy says whether value is the ProxyProof of a revision. It takes some 0.1 ms.
func (k Key) ProvesProxy(namespace, revision, value string) bool {
	if k == nil {
		return value == knativeProxy
	}
	proof, ok := strings.CutPrefix(value, knativeProxy+" ")
	return ok && k.verify(proof, aboutRequests, namespace, revision)
}

// StreamDeadline tells the queue-proxy of a pod when its streams must end.
type StreamDeadline struct {
	// Namespace, Revision and Pod are whom it is for.
	Namespace, Revision, Pod string
	// At is when the streams must end; the zero Time means never.
	At time.Time
	// Signed is when this was decided, by the same clock as At. Of two messages the later one counts, so an old one has no effect.
	Signed time.Time
}

// Prove returns the proof that d is from a controller; empty for a nil Signer.
func (d StreamDeadline) Prove(s *Signer) string {
	if s == nil {
		return ""
	}
	return s.sign(d.parts()...)
}

// Proves says whether proof is that of d. A nil Key takes none.
func (k Key) Proves(d StreamDeadline, proof string) bool {
	return k != nil && k.verify(proof, d.parts()...)
}

func (d StreamDeadline) parts() []string {
	return []string{aboutStreams, d.Namespace, d.Revision, d.Pod, formatTime(d.At), formatTime(d.Signed)}
}

// StreamDeadlinePath is the page of a queue-proxy's admin port that takes a StreamDeadline: a PUT with its Query, and its proof in
// ProofHeader.
const StreamDeadlinePath = "/stream-deadline"

const (
	queryAt     = "streams-end"
	querySigned = "signed-at"
)

// Query returns the times of d for a URL, each in Unix nanoseconds.
func (d StreamDeadline) Query() string {
	return url.Values{queryAt: {formatTime(d.At)}, querySigned: {formatTime(d.Signed)}}.Encode()
}

// ReadQuery sets the times of d to those of a Query.
func (d *StreamDeadline) ReadQuery(query url.Values) (err error) {
	if d.At, err = readTime(query, queryAt); err == nil {
		d.Signed, err = readTime(query, querySigned)
	}
	return err
}

// formatTime returns a time in Unix nanoseconds, and nothing for the zero Time.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixNano(), 10)
}

func readTime(query url.Values, name string) (time.Time, error) {
	text := query.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s is %.100q, want Unix nanoseconds, or nothing for none", name, text)
	}
	return time.Unix(0, n), nil
}

// message joins parts. None of them has a zero byte: they are names and numbers.
func message(parts []string) []byte {
	var out []byte
	for _, part := range parts {
		out = append(append(out, part...), 0)
	}
	return out
}

func (s *Signer) sign(parts ...string) string {
	return base64.RawURLEncoding.EncodeToString(ed25519.Sign(s.key, message(parts)))
}

func (k Key) verify(proof string, parts ...string) bool {
	signature, err := base64.RawURLEncoding.DecodeString(proof)
	return err == nil && ed25519.Verify(ed25519.PublicKey(k), message(parts), signature)
}
