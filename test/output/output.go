// Package output keeps for tests what something writes while it runs.
package output

import (
	"bytes"
	"strings"
	"sync"
)

// Buffer is what was written so far. The zero value is empty, and its methods may be called from any goroutine.
type Buffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

// String returns all that was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// Lines returns the lines that were written, without their ends.
func (b *Buffer) Lines() []string { return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") }
