package replay

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
)

func TestEachAttemptReadsFromTheBeginning(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", Limit/16)
	for _, read := range []int{0, 1, 1000, len(text)} {
		var b Body
		var buffers Buffers
		r := b.Begin(iotest.OneByteReader(strings.NewReader(text)), &buffers)
		for range 3 {
			if _, err := io.ReadFull(r, make([]byte, read)); err != nil {
				t.Fatal(err)
			}
			next, ok := b.Rewind()
			if !ok {
				t.Fatalf("after %d bytes the body is lost", read)
			}
			if _, err := r.Read(make([]byte, 1)); !errors.Is(err, ErrSuperseded) {
				t.Errorf("the attempt before goes on reading: %v", err)
			}
			r = next
		}
		for range 2 { // the second time its end is known
			if got, err := io.ReadAll(r); err != nil || string(got) != text {
				t.Errorf("after %d bytes the body has %d bytes, %v", read, len(got), err)
			}
			var ok bool
			if r, ok = b.Rewind(); !ok {
				t.Fatal("a body of just the limit is lost")
			}
		}
		if !b.Release() {
			t.Error("somebody waits for the client")
		}
		if _, ok := b.Rewind(); ok {
			t.Error("the body is there after its request is over")
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, ErrSuperseded) {
			t.Errorf("after its request is over: %v", err)
		}
	}
}

func TestALargeBodyIsSentOnce(t *testing.T) {
	text := bytes.Repeat([]byte("x"), Limit+1)
	for name, source := range map[string]io.Reader{"whole": bytes.NewReader(text), "halves": iotest.HalfReader(bytes.NewReader(text))} {
		var b Body
		r := b.Begin(source, &Buffers{})
		if got, err := io.ReadAll(r); !bytes.Equal(got, text) || err != nil {
			t.Errorf("%s: read %d bytes, %v", name, len(got), err)
		}
		if _, ok := b.Rewind(); ok || b.log != nil {
			t.Errorf("%s: can be sent again: %t, %d bytes are kept", name, ok, len(b.log))
		}
	}
}

func TestNewestAttemptGetsWhatTheClientStillSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, client := io.Pipe()
		var b Body
		first := b.Begin(source, &Buffers{})
		go func() { _, _ = io.WriteString(client, "one ") }()
		if _, err := io.ReadFull(first, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, err := first.Read(make([]byte, 10))
			ended <- err
		}()
		synctest.Wait() // it waits for the client
		second, _ := b.Rewind()
		third, ok := b.Rewind()
		if !ok {
			t.Fatal("no other attempt can begin")
		}
		whole := make(chan string)
		go func() {
			got, _ := io.ReadAll(third) // the string is compared
			whole <- string(got)
		}()
		b.Settle() // what comes is to be kept all the same
		synctest.Wait()
		go func() { _, _ = io.WriteString(client, "two "); _, _ = io.WriteString(client, "three"); client.Close() }()
		if got := <-whole; got != "one two three" {
			t.Errorf("the third attempt reads %q", got)
		}
		if err := <-ended; !errors.Is(err, ErrSuperseded) {
			t.Errorf("the first reads on: %v", err)
		}
		if _, err := second.Read(make([]byte, 1)); !errors.Is(err, ErrSuperseded) {
			t.Errorf("the second reads on: %v", err)
		}
		if b.log != nil {
			t.Error("memory is kept though nobody will read it")
		}
	})
}

func TestARequestEndsWhileItsClientIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, client := io.Pipe()
		var b Body
		first := b.Begin(source, &Buffers{})
		ended := make(chan error, 2)
		read := func(r *Reader) {
			_, err := r.Read(make([]byte, 10))
			ended <- err
		}
		go read(first)
		synctest.Wait()
		second, _ := b.Rewind()
		go read(second)
		synctest.Wait()
		if b.Release() {
			t.Error("nobody waits for the client")
		}
		if err := <-ended; !errors.Is(err, ErrSuperseded) { // the second's: it does not wait for the first
			t.Error(err)
		}
		_, _ = io.WriteString(client, "late")
		if err := <-ended; !errors.Is(err, ErrSuperseded) || b.log != nil {
			t.Errorf("%v; %d bytes are kept", err, len(b.log))
		}
	})
}

func TestNoOtherAttemptWhileAFullLogWaitsForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, client := io.Pipe()
		var b Body
		r := b.Begin(io.MultiReader(strings.NewReader(strings.Repeat("x", Limit)), source), &Buffers{})
		if _, err := io.ReadFull(r, make([]byte, Limit)); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, err := r.Read(make([]byte, 10))
			ended <- err
		}()
		synctest.Wait()
		if _, ok := b.Rewind(); ok {
			t.Error("another attempt begins, for which there would be no room to keep what comes")
		}
		_, _ = io.WriteString(client, "more")
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestBufferIsReturnedWhenTheRequestIsSettled(t *testing.T) {
	var b Body
	r := b.Begin(strings.NewReader("0123456789"), &Buffers{})
	_, _ = io.ReadFull(r, make([]byte, 5))
	r, _ = b.Rewind()
	b.Settle()
	if b.log == nil {
		t.Error("what the present attempt has not read yet is lost")
	}
	if got, err := io.ReadAll(r); string(got) != "0123456789" || err != nil || b.log != nil {
		t.Errorf("read %q, %v; %d bytes are kept", got, err, len(b.log))
	}
	if _, ok := b.Rewind(); ok {
		t.Error("a settled request is sent again")
	}
}

func TestABodyThatTheClientDoesNotDeliverFails(t *testing.T) {
	var b Body
	gone := errors.New("gone")
	r := b.Begin(iotest.ErrReader(gone), &Buffers{})
	for range 2 {
		if _, err := io.ReadAll(r); !errors.Is(err, gone) {
			t.Errorf("reading fails with %v", err)
		}
		r, _ = b.Rewind()
	}
	if !b.Failed() {
		t.Error("the client is not to blame")
	}
}

// BenchmarkBody is a small body, sent once and sent twice.
func BenchmarkBody(b *testing.B) {
	for _, c := range []struct {
		name   string
		rewind bool
	}{{"once", false}, {"twice", true}} {
		b.Run(c.name, func(b *testing.B) {
			var buffers Buffers
			source, p := strings.NewReader(strings.Repeat("x", 1000)), make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				source.Seek(0, io.SeekStart)
				var body Body
				r := body.Begin(source, &buffers)
				drain(r, p)
				if c.rewind {
					r, _ = body.Rewind()
					drain(r, p)
				}
				body.Settle()
				body.Release()
			}
		})
	}
}

func drain(r io.Reader, p []byte) {
	for {
		if _, err := r.Read(p); err != nil {
			return
		}
	}
}
