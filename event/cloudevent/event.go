package cloudevent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/cloudevents/sdk-go/v2/event"

	"sluice.dev/sluice/contract"
)

// headerPrefix begins the header of each attribute in binary mode.
const headerPrefix = "Ce-"

// headerPrefixLength is that many bytes of it.
const headerPrefixLength = len(headerPrefix)

// Attributes that say what kind of task an event is. Names of extensions have lower-case letters and digits alone.
const (
	DeadlineAttribute = "sluicedeadline" // when the task must have ended, as a timestamp of RFC 3339
	PriorityAttribute = "sluicepriority" // the priority of the task
)

const (
	specversion = "specversion"
	data        = "data"
	dataBase64  = "data_base64"
)

// Event is what the attributes of a CloudEvent say. Its data is not here.
type Event struct {
	ID, Source, Type, Subject, SpecVersion string
	// Deadline and Priority are the attributes of these names; empty without.
	Deadline, Priority string
}

// maxAttributes bounds the attributes of an event.
const maxAttributes = 128

// fromHeader reads the attributes of an event in binary mode.
func fromHeader(h http.Header) (Event, error) {
	a := attributes{}
	for name, values := range h {
		if len(name) <= headerPrefixLength || !strings.EqualFold(name[:headerPrefixLength], headerPrefix) {
			continue
		}
		attribute := strings.ToLower(name[headerPrefixLength:])
		if len(values) != 1 {
			return Event{}, fmt.Errorf("attribute %s: the header %s is there %d times, want it once", attribute, name, len(values))
		}
		a[attribute] = decodeHeader(values[0])
	}
	if values := h["Content-Type"]; len(values) == 1 {
		a["datacontenttype"] = values[0]
	}
	return a.event()
}

// fromJSON reads the attributes of an event in the JSON format, and skips its data.
func fromJSON(b []byte) (Event, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return Event{}, fmt.Errorf("not a JSON object: %w", err)
	}
	if members == nil {
		return Event{}, errors.New("not a JSON object: null")
	}
	a := attributes{}
	for name, raw := range members {
		if name == data || name == dataBase64 {
			continue
		}
		v, err := value(raw)
		if err != nil {
			return Event{}, fmt.Errorf("attribute %.64q: %w", name, err)
		}
		if v != nil {
			a[name] = v
		}
	}
	if members[data] != nil && members[dataBase64] != nil {
		return Event{}, errors.New("attribute data_base64: the event has data too, want one of them")
	}
	return a.event()
}

// value returns an attribute of the JSON format: a string, an integer, a boolean, or nil for one that is absent.
func value(raw json.RawMessage) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case nil, string, bool:
		return v, nil
	case json.Number:
		if n, err := v.Int64(); err == nil && n >= math.MinInt32 && n <= math.MaxInt32 {
			return int32(n), nil
		}
		return nil, fmt.Errorf("%.32s is no integer of 32 bits", v)
	}
	return nil, errors.New("want a string, an integer or a boolean")
}

// attributes are those of an event by their names in lower case.
type attributes map[string]any

// event checks the attributes.
func (a attributes) event() (Event, error) {
	if len(a) > maxAttributes {
		return Event{}, fmt.Errorf("the event has %d attributes, at most %d are possible", len(a), maxAttributes)
	}
	said, ok := a[specversion].(string)
	if !ok {
		return Event{}, errors.New("attribute specversion: it is missing, want 1.0")
	}
	version := spec.VS.Version(said)
	if version == nil || version.String() != said {
		return Event{}, fmt.Errorf("attribute specversion: %.16q is not known, want 1.0 or 0.3", said)
	}
	context := version.NewContext()
	for name, v := range a {
		if name == specversion {
			continue
		}
		if err := set(version, context, name, v); err != nil {
			return Event{}, fmt.Errorf("attribute %.64s: %w", name, err)
		}
	}
	if wrong := context.Validate(); len(wrong) > 0 {
		return Event{}, first(wrong)
	}
	e := a.values()
	return e, e.terms()
}

// set gives a context an attribute.
func set(version spec.Version, context event.EventContext, name string, v any) error {
	text, isText := v.(string)
	switch {
	case version.Attribute(name) != nil && !isText:
		return errors.New("want a string")
	case strings.ToLower(name) != name:
		return errors.New("want a name of lower-case letters and digits")
	case name == event.DataContentEncodingKey && version == spec.V03:
		return context.DeprecatedSetDataContentEncoding(text)
	}
	return version.SetAttribute(context, name, v)
}

// terms checks what the event says about its task.
func (e *Event) terms() error {
	if e.Deadline != "" {
		if _, err := time.Parse(time.RFC3339, e.Deadline); err != nil {
			return fmt.Errorf("attribute %s: %.64q is no time of RFC 3339, such as 2030-01-31T12:00:00Z", DeadlineAttribute, e.Deadline)
		}
	}
	switch e.Priority {
	case "", contract.PriorityHigh, contract.PriorityNormal, contract.PriorityLow:
		return nil
	}
	return fmt.Errorf("attribute %s: %.64q must be one of %s, %s and %s", PriorityAttribute, e.Priority, contract.PriorityHigh,
		contract.PriorityNormal, contract.PriorityLow)
}

// first is the problem of the first attribute, by name, that has one.
func first(wrong event.ValidationError) error {
	names := make([]string, 0, len(wrong))
	for name := range wrong {
		names = append(names, name)
	}
	name := slices.Min(names)
	return fmt.Errorf("attribute %s: %w", name, wrong[name])
}

func (a attributes) values() Event {
	text := func(name string) string {
		s, _ := a[name].(string)
		return s
	}
	return Event{
		ID: text("id"), Source: text("source"), Type: text("type"), Subject: text("subject"), SpecVersion: text(specversion),
		Deadline: text(DeadlineAttribute), Priority: text(PriorityAttribute),
	}
}

// decodeHeader reads the value of a header of binary mode, where characters may be percent-encoded. One that is encoded wrong stands for
// itself, as the binding asks of those who do not decode.
func decodeHeader(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	if decoded, err := url.PathUnescape(s); err == nil {
		return decoded
	}
	return s
}

// encodeHeader writes the value of an attribute as a header of binary mode: spaces, double quotes, percent signs, and all that is not
// printable ASCII are percent-encoded.
func encodeHeader(s string) string {
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
