package store

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// What the process of a store and the one that started it say to each other.
const (
	readyWord  = "ready\n"  // on its standard output, when it serves
	stopWord   = "stop\n"   // on its standard input: it is to end
	failedWord = "failed: " // on its standard error, before the sentence that says why it ends
)

// Serve is the process of a store. It ends when its standard input says so, and at once when that is closed: then its user was
// killed, and the next one waits for the files. Signals are for the user.
func Serve(c Config) {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		if n, _ := io.ReadFull(os.Stdin, make([]byte, len(stopWord))); n < len(stopWord) {
			os.Exit(1)
		}
		cancel()
	}()
	c.Failed = func(err error) {
		fmt.Fprintln(os.Stderr, failedWord+err.Error())
		os.Exit(1)
	}
	c.Ready = func() { fmt.Print(readyWord) }
	if err := Run(ctx, c); err != nil {
		c.Failed(err)
	}
}

// ownGroup keeps the terminal's signals from a process.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
