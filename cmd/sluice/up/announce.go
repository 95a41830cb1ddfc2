package up

import (
	"fmt"
	"io"
	"sync"

	"sluice.dev/sluice/model"
)

// announcer prints what the user waits for: first that everything serves, then each service. It keeps a service that is ready earlier,
// as after a restart, until everything serves. It may be used by several goroutines.
type announcer struct {
	out io.Writer

	mu     sync.Mutex // guards what follows, and writes to out
	begun  bool
	before []string // lines for begin
}

// begin prints a text, and then the lines that were kept.
func (a *announcer) begin(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begun = true
	for _, line := range append([]string{text}, a.before...) {
		fmt.Fprint(a.out, line)
	}
	a.before = nil
}

// service prints a line when a service becomes ready.
func (a *announcer) service(service model.Key, url string) {
	line := fmt.Sprintf("%s is ready: %s\n", service, url)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.begun {
		fmt.Fprint(a.out, line)
		return
	}
	a.before = append(a.before, line)
}

// Write writes between the lines.
func (a *announcer) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out.Write(p)
}
