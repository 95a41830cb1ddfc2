package task

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"io"
	"time"
)

// encoding keeps the order of the bytes, so that IDs sort by the time of their making.
var encoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// The bytes of an ID: the time in milliseconds, then randomness.
const (
	timeBytes   = 6
	randomBytes = 16
)

// idLength is the length of an ID in characters.
var idLength = encoding.EncodedLen(timeBytes + randomBytes)

// NewID makes an ID from a moment and 128 bits of a source of random numbers, which must be one for cryptography: who knows an ID may see
// and cancel its Task. IDs sort by the moment, which keeps new records of a store together.
func NewID(now time.Time, random io.Reader) (string, error) {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 8+randomBytes), uint64(now.UnixMilli())<<16) //nolint:gosec // after 1970
	b = append(b[:timeBytes], make([]byte, randomBytes)...)
	if _, err := io.ReadFull(random, b[timeBytes:]); err != nil {
		return "", err
	}
	return encoding.EncodeToString(b), nil
}

// ValidID says that a text may be an ID, so that it may be looked for.
func ValidID(id string) bool {
	if len(id) != idLength {
		return false
	}
	_, err := encoding.DecodeString(id)
	return err == nil
}

// Key is the same for two tasks of a namespace with the same source and id, and for no others. It has a bounded length.
func Key(namespace, source, id string) string {
	h := sha256.New()
	var size [8]byte
	for _, part := range []string{namespace, source, id} {
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
