package activator

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// copyHeader copies the headers of a replica's response.
func copyHeader(h, from http.Header) {
	named := from["Connection"]
	for name, values := range from {
		if !hopByHop(name) && (len(named) == 0 || !hasToken(named, name)) {
			if name == "Server-Timing" {
				values = append(values, h[name]...)
			}
			h[name] = values
		}
	}
	if _, typed := h["Content-Type"]; !typed {
		h["Content-Type"] = nil // or net/http would guess one
	}
}

// relay writes a response to the client. When it fails, the client must not take what it got for the whole response.
func (x *exchange) relay(res *http.Response, body io.Reader) error {
	h := x.w.Header()
	copyHeader(h, res.Header)
	announced := len(res.Trailer)
	if announced > 0 {
		h["Trailer"] = []string{strings.Join(slices.Sorted(maps.Keys(res.Trailer)), ", ")}
		delete(h, "Content-Length") // HTTP/1.1 has trailers only after chunks
	}
	x.answer(false)
	x.status = res.StatusCode
	x.w.WriteHeader(res.StatusCode)
	x.dirty = true
	if err := x.copyBody(body); err != nil {
		return err
	}
	if announced > 0 || x.r.ProtoMajor == 1 && len(res.Trailer) > 0 {
		x.dirty = true
		x.flush() // net/http would send a short response without chunks, and so without trailers
	}
	for name, values := range res.Trailer {
		if len(res.Trailer) != announced {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
	return nil
}

func (x *exchange) copyBody(body io.Reader) error {
	if body == nil || body == http.NoBody {
		return nil
	}
	buffer := x.activator.buffers.Get()
	defer x.activator.buffers.Put(buffer)
	for {
		n, err := body.Read(buffer)
		if n > 0 {
			if _, err := x.w.Write(buffer[:n]); err != nil {
				return fmt.Errorf("writing the response: %w", err)
			}
			x.dirty = true
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the response: %w", err)
		}
	}
}

// flush sends what was written.
func (x *exchange) flush() {
	if x.dirty {
		x.dirty = false
		_ = http.NewResponseController(x.w).Flush() // a client that has gone is noticed by the next write
	}
}

// hopByHop reports whether a response header is not for the client.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Transfer-Encoding", "Trailer", "Upgrade":
		return true
	}
	return false
}
