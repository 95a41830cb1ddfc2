package process

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const (
	tailSize  = 2 << 10 // bytes of output that are kept for failure messages
	tailLines = 10
)

// output writes a log file of bounded size and keeps the last lines in memory. A file that reaches the limit is renamed to
// NAME.1, which replaces an older NAME.1. So the two never have more than twice the limit of bytes.
type output struct {
	path  string
	limit int64
	file  *os.File
	size  int64
	tail  tail
}

// newOutput opens the log to append to it. With an error the output is usable, but writes no file.
func newOutput(path string, limit int64) (*output, error) {
	o := &output{path: path, limit: limit}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return o, err
	}
	return o, o.open()
}

func (o *output) open() error {
	file, err := os.OpenFile(o.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening a log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return fmt.Errorf("opening a log: %w", err)
	}
	o.file, o.size = file, info.Size()
	return nil
}

// copy writes what it reads from r until r ends. It goes on reading when it cannot write the file: the container would block
// on a full pipe.
func (o *output) copy(r io.Reader) {
	buffer := make([]byte, 4<<10) // small, since each replica has one and most write little
	for {
		n, err := r.Read(buffer)
		o.write(buffer[:n])
		if err != nil {
			return
		}
	}
}

func (o *output) write(p []byte) {
	_, _ = o.tail.Write(p)
	if o.size > 0 && o.size+int64(len(p)) > o.limit {
		o.rotate()
	}
	if o.file == nil {
		return
	}
	n, _ := o.file.Write(p) // on a full disk the output is lost
	o.size += int64(n)
}

func (o *output) rotate() {
	o.close()
	if os.Rename(o.path, o.path+".1") == nil {
		_ = o.open() // if that fails, write only keeps the tail
	}
}

func (o *output) close() {
	if o.file != nil {
		_ = o.file.Close()
		o.file = nil
	}
}

// lastLines returns the last lines of the output.
func (o *output) lastLines() string { return o.tail.lines() }

// tail is a Writer that keeps the last tailSize bytes.
type tail struct {
	mu    sync.Mutex
	bytes []byte
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	if n > tailSize {
		p = p[n-tailSize:]
	}
	if excess := len(t.bytes) + len(p) - tailSize; excess > 0 {
		t.bytes = append(t.bytes[:0], t.bytes[excess:]...)
	}
	t.bytes = append(t.bytes, p...)
	return n, nil
}

// lines returns at most the last tailLines lines.
func (t *tail) lines() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(strings.ToValidUTF8(string(t.bytes), "?"))
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(len(lines)-tailLines, 0):], "\n")
}
