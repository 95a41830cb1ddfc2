package replay

import (
	"io"
	"net/http"
)

// Trailers returns the body of an attempt whose client has announced trailers, and the trailers that the attempt sends. from is where
// the server puts the client's trailers at the end of the body. Each attempt has its own, since a transport reads them while the attempt
// before may reach the end of the body.
func (r *Reader) Trailers(names []string, from http.Header) (io.ReadCloser, http.Header) {
	to := make(http.Header, len(names))
	for _, name := range names {
		to[name] = nil
	}
	return announcing{r, from, to}, to
}

type announcing struct {
	*Reader
	from, to http.Header
}

// Read fills in the trailers at the end.
func (b announcing) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF { //nolint:errorlint // a reader says EOF as it is
		for name := range b.to {
			b.to[name] = b.from[name]
		}
	}
	return n, err
}
