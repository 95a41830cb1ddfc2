package forecast

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	// Bucket is the resolution of a History: of each five minutes it has the greatest load.
	Bucket = 5 * time.Minute
	// Reach is how far a History reaches back.
	Reach = 3 * 7 * 24 * time.Hour

	perDay  = int64(24 * time.Hour / Bucket)
	perWeek = 7 * perDay
	most    = int64(Reach / Bucket)
	// spare is how many more values there may be before the oldest ones are dropped, so that not every value moves all others.
	spare = perDay
	// unknown is the value of a bucket whose load is not known. As a number it is none.
	unknown = uint16(0xffff)
)

// History is the load over time, in a unit that its user knows. The zero History is empty. It takes two bytes for each bucket from the
// first record on, and at most MaxBytes.
type History struct {
	first  int64    // the bucket of the first value, counted from 1970
	values []uint16 // the upper halves of 32-bit floats: 0.4 % is the greatest error
	errors [seasons]float64
}

// MaxBytes is how much memory the values of one History take at most.
const MaxBytes = int(most+spare) * 2

// bucketOf returns the bucket that a moment falls into.
func bucketOf(at time.Time) int64 { return floorDiv(at.Unix(), int64(Bucket/time.Second)) }

func floorDiv(a, b int64) int64 {
	if q := a / b; a%b >= 0 {
		return q
	}
	return a/b - 1
}

// Record takes the load of a moment. Of one bucket the greatest load counts. One that is older than the newest bucket, not a number or
// negative is ignored.
func (h *History) Record(at time.Time, load float64) {
	b := bucketOf(at)
	if !(load >= 0) || len(h.values) > 0 && b < h.newest() {
		return
	}
	if len(h.values) == 0 || b-h.newest() > most {
		*h = History{first: b, values: append(h.values[:0], unknown)}
	}
	for h.newest() < b {
		h.score(h.newest())
		h.values = append(h.values, unknown)
	}
	if extra := int64(len(h.values)) - most; extra >= spare {
		h.values = h.values[:copy(h.values, h.values[extra:])]
		h.first += extra
	}
	last := &h.values[len(h.values)-1]
	if *last == unknown || load > decode(*last) {
		*last = encode(load)
	}
}

// newest is the newest bucket.
func (h *History) newest() int64 { return h.first + int64(len(h.values)) - 1 }

// at returns the load of a bucket, if it is known.
func (h *History) at(bucket int64) (float64, bool) {
	if i := bucket - h.first; i >= 0 && i < int64(len(h.values)) && h.values[i] != unknown {
		return decode(h.values[i]), true
	}
	return 0, false
}

// encode rounds a load to the upper half of a 32-bit float.
func encode(load float64) uint16 {
	bits := math.Float32bits(float32(min(load, math.MaxFloat32/2)))
	return uint16((bits + 1<<15) >> 16)
}

func decode(v uint16) float64 { return float64(math.Float32frombits(uint32(v) << 16)) }

// header is how many bytes stand before the values of a History in binary form: a version and the first bucket.
const header = 1 + 8

const version = 1

// MarshalBinary implements encoding.BinaryMarshaler.
func (h *History) MarshalBinary() ([]byte, error) {
	out := make([]byte, 0, header+2*len(h.values))
	out = append(out, version)
	out = binary.LittleEndian.AppendUint64(out, uint64(h.first))
	for _, v := range h.values {
		out = binary.LittleEndian.AppendUint16(out, v)
	}
	return out, nil
}

var errLength = errors.New("the history of the load has a wrong length")

// UnmarshalBinary implements encoding.BinaryUnmarshaler. Values that are no load count as unknown.
func (h *History) UnmarshalBinary(data []byte) error {
	if len(data) < header || len(data)%2 != header%2 || len(data)-header > MaxBytes {
		return fmt.Errorf("%w: %d bytes", errLength, len(data))
	}
	if data[0] != version {
		return fmt.Errorf("the history of the load has version %d, want %d", data[0], version)
	}
	first := int64(binary.LittleEndian.Uint64(data[1:]))
	if first < 0 || first > math.MaxInt64/int64(Bucket) {
		return errors.New("the history of the load begins at a time that is none")
	}
	read := History{first: first}
	for rest := data[header:]; len(rest) > 0; rest = rest[2:] {
		v := binary.LittleEndian.Uint16(rest)
		if d := decode(v); !(d >= 0 && d <= math.MaxFloat32) {
			v = unknown
		}
		read.values = append(read.values, v)
	}
	for i := max(0, int64(len(read.values))-perWeek); i < int64(len(read.values))-1; i++ {
		read.score(read.first + i)
	}
	*h = read
	return nil
}

// Continue puts an older history before this one. Where both have a bucket, the greater load counts.
func (h *History) Continue(older *History) {
	joined := History{first: older.first, values: append([]uint16(nil), older.values...), errors: older.errors}
	for i, v := range h.values {
		if v != unknown {
			joined.Record(time.Unix((h.first+int64(i))*int64(Bucket/time.Second), 0), decode(v))
		}
	}
	*h = joined
}

// Known is for how much time the load is known.
func (h *History) Known() time.Duration {
	n := 0
	for _, v := range h.values {
		if v != unknown {
			n++
		}
	}
	return time.Duration(n) * Bucket
}
