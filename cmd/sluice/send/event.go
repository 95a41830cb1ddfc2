package send

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// maxData bounds the data that is read from a file or from standard input.
const maxData = 64 << 20

// flags are what the user says of the event.
type flags struct {
	kind, source, id, subject, data, dataFile, contentType string
	extensions                                             map[string]string
	structured, async, follow                              bool
	host                                                   string
	timeout                                                time.Duration
}

// make makes the event, and checks it by the rules of the specification.
func (f *flags) event(stdin io.Reader) (event.Event, error) {
	e := event.New()
	e.SetID(f.id)
	if f.id == "" {
		e.SetID(rand.Text())
	}
	e.SetSource(f.source)
	e.SetType(f.kind)
	e.SetTime(time.Now())
	if f.subject != "" {
		e.SetSubject(f.subject)
	}
	for name, value := range f.extensions {
		e.SetExtension(name, value)
	}
	data, err := f.read(stdin)
	if err != nil {
		return e, err
	}
	if data != nil {
		contentType := f.contentType
		if contentType == "" {
			contentType = "text/plain; charset=utf-8"
			if json.Valid(data) {
				contentType = event.ApplicationJSON
			}
		}
		if err := e.SetData(contentType, data); err != nil {
			return e, fmt.Errorf("the data of the event: %w", err)
		}
	}
	if err := e.Validate(); err != nil {
		return e, fmt.Errorf("the event is not valid: %s", strings.TrimSpace(err.Error()))
	}
	return e, nil
}

// read returns the data of the event, or nil if it has none.
func (f *flags) read(stdin io.Reader) ([]byte, error) {
	if f.dataFile == "" {
		if f.data == "" {
			return nil, nil
		}
		return []byte(f.data), nil
	}
	from := stdin
	if f.dataFile != "-" {
		file, err := os.Open(f.dataFile)
		if err != nil {
			return nil, fmt.Errorf("reading the data of the event: %w", err)
		}
		defer file.Close()
		from = file
	}
	data, err := io.ReadAll(io.LimitReader(from, maxData+1))
	if err != nil {
		return nil, fmt.Errorf("reading the data of the event: %w", err)
	}
	if len(data) > maxData {
		return nil, fmt.Errorf("the data of the event in %s is longer than %d MiB: send a reference to it instead", f.dataFile, maxData>>20)
	}
	return data, nil
}

// request makes the request that brings the event.
func (f *flags) request(target string, e *event.Event) (*http.Request, error) {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is no URL: want one such as http://127.0.0.1:8080/", target)
	}
	body, header := e.Data(), http.Header{}
	if f.structured {
		if body, err = json.Marshal(e); err != nil {
			return nil, fmt.Errorf("encoding the event: %w", err)
		}
		header.Set("Content-Type", event.ApplicationCloudEventsJSON)
	} else {
		attributes(header, e)
	}
	if f.async || f.follow {
		header.Set("Prefer", "respond-async")
	}
	r, err := http.NewRequest(http.MethodPost, target, bytes.NewReader(body)) //nolint:noctx // the caller gives it one
	if err != nil {
		return nil, err
	}
	r.Header = header
	if f.host != "" {
		r.Host = f.host
	}
	return r, nil
}

// attributes writes the attributes of an event as headers, in binary mode.
func attributes(h http.Header, e *event.Event) {
	set := func(name, value string) {
		if value != "" {
			h.Set("Ce-"+name, encode(value))
		}
	}
	set("Specversion", e.SpecVersion())
	set("Id", e.ID())
	set("Source", e.Source())
	set("Type", e.Type())
	set("Subject", e.Subject())
	set("Dataschema", e.DataSchema())
	set("Time", e.Time().UTC().Format(time.RFC3339Nano))
	for name, value := range e.Extensions() {
		set(name, fmt.Sprint(value))
	}
	if t := e.DataContentType(); t != "" {
		h.Set("Content-Type", t)
	}
}

// encode percent-encodes what the HTTP binding does not let stand in a header: spaces, double quotes, percent signs, and all that is not
// printable ASCII.
func encode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '"' || c == '%' || c > '~' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// maxReply bounds how much of a reply is printed.
const maxReply = 16 << 20

// send sends the request, prints the reply, and returns an error if the event was not accepted. Redirects are not followed: the event
// would arrive without its data.
func send(client *http.Client, r *http.Request, out, log io.Writer) error {
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("sending the event: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // the body was read
	fmt.Fprintln(log, resp.Status)
	if location := resp.Header.Get("Location"); location != "" {
		fmt.Fprintln(log, "Location:", location)
	}
	n, err := io.Copy(out, io.LimitReader(resp.Body, maxReply))
	switch {
	case err != nil:
		return fmt.Errorf("reading the reply: %w", err)
	case n == maxReply:
		fmt.Fprintf(log, "only the first %d MiB of the reply are shown\n", maxReply>>20)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return errors.New("the event was not accepted: " + resp.Status)
	}
	return nil
}
