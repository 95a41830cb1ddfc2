package framing

import (
	"bytes"
	"errors"
	"strconv"
)

// Bounds, in bytes, of a chunk's size line and of all trailers. The server itself bounds the head.
const (
	maxChunkLine = 256
	maxTrailers  = 16 << 10
)

// errMalformed is what Read returns in place of the first malformed byte.
var errMalformed = errors.New("the request's body is malformed")

type state int

const (
	atStart   state = iota // before the first byte of a request, or in empty lines before it
	inHead                 // after the first line of a request
	inBody                 // in a body with a Content-Length
	inSize                 // in the size line of a chunk
	inChunk                // in the data of a chunk
	afterData              // in the line break after the data
	inTrailer
	unframed // it is not HTTP/1
	ended    // nothing more is scanned
)

// scanner parses the bytes of a client from request to request.
type scanner struct {
	state state
	part  []byte // the beginning of a line whose end has not arrived
	left  int64  // missing bytes of the body, of a chunk's data, or of the line break after it
	spent int    // bytes of the trailers so far
	head
}

// head is what has been read of a request's head.
type head struct {
	old     bool // HTTP/1.0
	lengths int
	length  int64
	codings int
	refusal string
}

// scan parses what has arrived, and returns how many bytes of it belong to the current request. It stops after the head, after the end of
// the request, and before a malformed byte, which sets the state to ended.
func (s *scanner) scan(p []byte) (n int) {
	for n < len(p) {
		switch s.state {
		case unframed:
			return len(p)
		case ended:
			return n
		case inBody, inChunk:
			m := min(s.left, int64(len(p)-n))
			n += int(m)
			if s.left -= m; s.left > 0 {
				continue
			}
			if s.state == inBody {
				s.next()
				return n
			}
			s.state, s.left = afterData, 2
		case afterData:
			if p[n] != "\r\n"[2-s.left] {
				s.state = ended
				return n
			}
			n++
			if s.left--; s.left == 0 {
				s.state = inSize
			}
		default:
			m, stop := s.scanLine(p[n:])
			if n += m; stop {
				return n
			}
		}
	}
	return n
}

// idle reports whether the last request is complete and nothing of the next one has arrived.
func (s *scanner) idle() bool { return s.state == atStart && len(s.part) == 0 }

// next prepares for the next request.
func (s *scanner) next() { s.state, s.head, s.spent = atStart, head{}, 0 }

// scanLine consumes the next line, or the part of it that has arrived. It reports whether the scan is to stop after it.
func (s *scanner) scanLine(p []byte) (n int, stop bool) {
	i := bytes.IndexByte(p, '\n')
	n = i + 1
	if i < 0 {
		n = len(p)
	}
	if s.tooLong(len(s.part) + n) {
		s.state = ended
		return 0, true
	}
	if i < 0 {
		s.part = append(s.part, p...)
		return n, false
	}
	line := p[:n]
	if len(s.part) > 0 {
		s.part = append(s.part, line...)
		line = s.part
	}
	before := s.state
	s.take(line)
	s.part = s.part[:0]
	if s.state == ended && before != inHead {
		return 0, true
	}
	return n, s.state != before && (before == inHead || s.state == atStart)
}

func (s *scanner) tooLong(line int) bool {
	switch s.state {
	case inSize:
		return line > maxChunkLine
	case inTrailer:
		return s.spent+line > maxTrailers
	}
	return false
}

// take parses a whole line.
func (s *scanner) take(line []byte) {
	switch s.state {
	case atStart:
		s.takeFirst(bytes.TrimRight(line, "\r\n"))
	case inHead:
		s.takeHeader(bytes.TrimSuffix(line[:len(line)-1], []byte("\r")))
	default: // in a body, where each line must end with a carriage return and a line feed
		text, ok := bytes.CutSuffix(line, []byte("\r\n"))
		switch {
		case !ok:
			s.state = ended
		case s.state == inSize:
			s.takeSize(text)
		default:
			s.spent += len(line)
			s.takeTrailer(text)
		}
	}
}

func (s *scanner) takeFirst(line []byte) {
	switch {
	case len(line) == 0:
	case bytes.Equal(line, []byte("PRI * HTTP/2.0")):
		s.state = unframed
	default:
		s.state, s.old = inHead, bytes.HasSuffix(line, []byte(" HTTP/1.0"))
	}
}

func (s *scanner) takeHeader(line []byte) {
	if len(line) == 0 {
		s.endHead()
		return
	}
	if line[0] == ' ' || line[0] == '\t' {
		s.refuse("a header field is continued on another line")
		return
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	switch {
	case len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")):
		s.lengths++
		var err error
		if s.length, err = parseLength(bytes.Trim(value, " \t"), 10); err != nil {
			s.refuse("the Content-Length is no number")
		}
	case len(name) == len("Transfer-Encoding") && bytes.EqualFold(name, []byte("Transfer-Encoding")):
		s.codings++
		if !bytes.EqualFold(bytes.Trim(value, " \t"), []byte("chunked")) {
			s.refuse("the Transfer-Encoding is not chunked")
		}
	}
}

func (s *scanner) refuse(why string) {
	if s.refusal == "" {
		s.refusal = why
	}
}

func (s *scanner) endHead() {
	switch {
	case s.codings > 0 && s.lengths > 0:
		s.refuse("both a Content-Length and a Transfer-Encoding")
	case s.codings > 0 && s.old:
		s.refuse("a Transfer-Encoding in HTTP/1.0")
	case s.codings > 1 || s.lengths > 1:
		s.refuse("more than one Content-Length or Transfer-Encoding")
	}
	switch {
	case s.refusal != "":
		s.state = ended
	case s.codings > 0:
		s.state = inSize
	case s.length > 0:
		s.state, s.left = inBody, s.length
	default:
		s.next()
	}
}

func (s *scanner) takeSize(line []byte) {
	digits := 0
	for digits < len(line) && isHex(line[digits]) {
		digits++
	}
	size, err := parseLength(line[:digits], 16)
	extension := bytes.TrimLeft(line[digits:], " \t")
	switch {
	case err != nil, digits < len(line) && (len(extension) == 0 || extension[0] != ';'), hasControl(extension):
		s.state = ended
	case size == 0:
		s.state = inTrailer
	default:
		s.state, s.left = inChunk, size
	}
}

func (s *scanner) takeTrailer(line []byte) {
	if len(line) == 0 {
		s.next()
		return
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !isToken(name) || hasControl(value) {
		s.state = ended
	}
}

var errNoLength = errors.New("no length")

// parseLength reads digits and accepts nothing else.
func parseLength(digits []byte, base int) (int64, error) {
	if len(digits) == 0 || digits[0] == '+' || digits[0] == '-' || bytes.IndexByte(digits, '_') >= 0 {
		return 0, errNoLength
	}
	return strconv.ParseInt(string(digits), base, 63)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func hasControl(p []byte) bool {
	return bytes.ContainsFunc(p, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func isToken(p []byte) bool {
	for _, c := range p {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0:
		default:
			return false
		}
	}
	return len(p) > 0
}
