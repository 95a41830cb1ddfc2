package main

import (
	"fmt"
	"io"
	"sync"

	"sluice.dev/sluice/model"
)

// announcer prints what the user waits for: first that everything serves, then each service. A service that is ready
// earlier, as after a restart, is kept until then.
type announcer struct {
	out io.Writer

	mu     sync.Mutex
	begun  bool
	before []string
}

// begin says that everything serves.
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
