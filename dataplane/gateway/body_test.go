package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func newBody(source io.Reader) *requestBody {
	x := &exchange{proxy: &proxy{buffers: newBuffers()}, view: requestView{Request: &http.Request{}}}
	x.request.source, x.request.x, x.request.to = source, x, http.Header{}
	return &x.request
}

func TestABodyIsSentFromItsBeginningByEachAttempt(t *testing.T) {
	text := strings.Repeat("0123456789", copyBufferBytes/10)
	for _, read := range []int{0, 1, 1000, len(text)} {
		b := newBody(iotest.OneByteReader(strings.NewReader(text)))
		var last *bodyReader
		for range 3 {
			r, ok := b.rewind()
			if !ok {
				t.Fatalf("after %d bytes the body is lost", read)
			}
			if last != nil {
				if _, err := last.Read(make([]byte, 1)); !errors.Is(err, errSuperseded) {
					t.Errorf("the attempt before goes on reading: %v", err)
				}
			}
			if _, err := io.ReadFull(r, make([]byte, read)); err != nil {
				t.Fatal(err)
			}
			last = r
		}
		r, ok := b.rewind()
		if got, err := io.ReadAll(r); !ok || err != nil || string(got) != text {
			t.Errorf("after %d bytes the body has %d bytes, %v", read, len(got), err)
		}
		b.release()
		if _, ok := b.rewind(); ok {
			t.Error("the body is there after its request is over")
		}
		if _, err := r.Read(make([]byte, 1)); err == nil {
			t.Error("it is read after its request is over")
		}
	}
}

func TestALargeBodyIsSentOnce(t *testing.T) {
	text := bytes.Repeat([]byte("x"), copyBufferBytes+1)
	b := newBody(bytes.NewReader(text))
	r, _ := b.rewind()
	if got, err := io.ReadAll(r); !bytes.Equal(got, text) || err != nil {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if _, ok := b.rewind(); ok {
		t.Error("the body can be sent again")
	}
	if b.log != nil {
		t.Error("memory is kept for it")
	}
}

func TestABodyThatIsWaitedForIsNotSentAgain(t *testing.T) {
	source, feed := io.Pipe()
	b := newBody(source)
	r, _ := b.rewind()
	read := make(chan error)
	go func() {
		_, err := r.Read(make([]byte, 1))
		read <- err
	}()
	for b.mu.TryLock() { // until it is being read
		b.mu.Unlock()
	}
	if _, ok := b.rewind(); ok {
		t.Error("another attempt begins")
	}
	_, _ = feed.Write([]byte("x"))
	if err := <-read; err != nil {
		t.Error(err)
	}
}

func TestABodyThatTheClientDoesNotDeliverFails(t *testing.T) {
	b := newBody(iotest.ErrReader(errors.New("gone")))
	for range 2 {
		r, ok := b.rewind()
		if _, err := io.ReadAll(r); !ok || err == nil || err.Error() != "gone" {
			t.Errorf("reading fails with %v", err)
		}
	}
	if !b.failed.Load() {
		t.Error("the client is not to blame")
	}
}
