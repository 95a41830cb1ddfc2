package store

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/pflag"
)

// AddFlags adds the flags with which Command starts the process of a store.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.Dir, "dir", "", "directory of its files")
	flags.StringVar(&c.Socket, "socket", "", "socket to listen on")
	flags.BoolVar(&c.Existing, "existing", false, "refuse to begin with nothing")
}

// Command is Options.Command for a program that calls Serve when it is run as `PROGRAM store` with the flags of AddFlags.
func Command(program string) func(dir, socket string, existing bool) *exec.Cmd {
	return func(dir, socket string, existing bool) *exec.Cmd {
		line := []string{"store", "--dir", dir, "--socket", socket}
		if existing {
			line = append(line, "--existing")
		}
		cmd := exec.Command(program, line...) //nolint:gosec // the caller's own program
		cmd.Env = []string{"GOTRACEBACK=single"}
		return cmd
	}
}

// Messages between the process of a store and the process that started it, its parent.
const (
	readyWord  = "ready\n"  // on its standard output, when it serves
	stopWord   = "stop\n"   // on its standard input, to end it
	failedWord = "failed: " // on its standard error, before the sentence that says why it ends
)

// Serve is the process of a store. It ends when it reads stopWord from standard input. When standard input is closed its parent was killed:
// it calls Orphaned, while it still has the files, and ends. The next parent waits for the files. It ignores signals, which are for the
// parent, and SIGPIPE, since a killed parent reads no more.
func Serve(c Config) {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(context.Background())
	var ending sync.Mutex // locked by who ends the process, and not unlocked
	go func() {
		if n, _ := io.ReadFull(os.Stdin, make([]byte, len(stopWord))); n < len(stopWord) {
			ending.Lock()
			if c.Orphaned != nil {
				c.Orphaned()
			}
			os.Exit(1)
		}
		cancel()
	}()
	c.Failed = func(err error) {
		ending.Lock() // a failure does not cut Orphaned short
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
