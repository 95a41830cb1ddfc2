package cloudevent

import (
	"fmt"
	"mime"
	"net/http"
	"strings"
)

// mode is how an event stands in a request.
type mode int

const (
	none mode = iota // the request is no CloudEvent
	binary
	structured
	batch
)

const (
	structuredType = "application/cloudevents+json"
	batchType      = "application/cloudevents-batch+json"
	batchPrefix    = "application/cloudevents-batch"
	eventPrefix    = "application/cloudevents"
)

// modeOf returns the mode of a request, or why it is one that nobody here reads.
func modeOf(h http.Header) (mode, *problem) {
	contentType := h.Get("Content-Type")
	if len(contentType) < len(eventPrefix) || !strings.EqualFold(contentType[:len(eventPrefix)], eventPrefix) {
		if h.Get(headerPrefix+specversion) != "" {
			return binary, nil
		}
		return none, nil
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return none, unsupported(fmt.Sprintf("the Content-Type %.128q cannot be read: %v", contentType, err))
	}
	if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return none, unsupported(fmt.Sprintf("the Content-Type %.128q has a charset that is not UTF-8", contentType))
	}
	switch media {
	case structuredType:
		return structured, nil
	case batchType:
		return batch, nil
	}
	if strings.HasPrefix(media, batchPrefix) {
		return none, unsupported(fmt.Sprintf("the Content-Type %.128q is not supported for batches, want %s", media, batchType))
	}
	return none, unsupported(fmt.Sprintf("the Content-Type %.128q is not supported for events, want %s", media, structuredType))
}

func unsupported(message string) *problem {
	return &problem{http.StatusUnsupportedMediaType, message}
}
