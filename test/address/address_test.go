package address

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Two processes that run at the same time never get the same address, although neither listens on its addresses.
func TestProcessesShareNoAddress(t *testing.T) {
	const many = 300
	if os.Getenv("ADDRESSES") != "" {
		for range many {
			fmt.Println("given " + Free(t))
		}
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the other process has its addresses
		return
	}
	given := map[string]bool{}
	take := func(address string) {
		if given[address] {
			t.Errorf("Free returned %s twice", address)
		}
		given[address] = true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestProcessesShareNoAddress$")
	cmd.Env = append(os.Environ(), "ADDRESSES=yes")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	for range many {
		var address string
		if _, err := fmt.Fscanf(out, "given %s\n", &address); err != nil || !strings.HasPrefix(address, "127.0.0.1:") {
			t.Fatalf("the other process got %q: %v", address, err)
		}
		take(address)
	}
	for range 10 * many { // enough that two processes would collide if they drew at random
		take(Free(t))
	}
}
