package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"golang.org/x/net/http/httpguts"
)

// headerChanges are what one level of a configuration (route configuration, virtual host, route, weighted cluster) does to
// the headers of a request or of a response. Nil changes nothing.
type headerChanges struct {
	remove []string
	set    []headerChange
}

type headerChange struct {
	key string
	// value is one value; it is shared by all requests, which its capacity of one keeps from growing into each other.
	value  []string
	action appendAction
}

// appendAction is what becomes of a header that is there already, or is not: Envoy's HeaderAppendAction, with the numbers of the API.
type appendAction int32

// The append actions.
const (
	appendOrAdd appendAction = iota
	addIfAbsent
	overwriteOrAdd
	overwriteIfExists
)

// apply removes, then sets, which is Envoy's order within one level.
func (c *headerChanges) apply(h http.Header) {
	if c == nil {
		return
	}
	for _, key := range c.remove {
		delete(h, key)
	}
	for i := range c.set {
		c.set[i].apply(h)
	}
}

func (c *headerChange) apply(h http.Header) {
	_, exists := h[c.key]
	switch c.action {
	case addIfAbsent:
		if exists {
			return
		}
	case overwriteIfExists:
		if !exists {
			return
		}
	case appendOrAdd:
		if exists {
			h[c.key] = append(h[c.key], c.value...)
			return
		}
	}
	h[c.key] = c.value
}

// compileHeaders makes the changes of one level; what names the pair of fields, such as "request_headers".
func compileHeaders(what string, add []*corev3.HeaderValueOption, remove []string) (*headerChanges, error) {
	if len(add) == 0 && len(remove) == 0 {
		return nil, nil
	}
	c := &headerChanges{}
	for i, name := range remove {
		key, err := changeableHeader(name)
		if err != nil {
			return nil, atIndex(what+"_to_remove", i, err)
		}
		c.remove = append(c.remove, key)
	}
	for i, option := range add {
		change, err := compileHeader(option)
		if err != nil {
			return nil, atIndex(what+"_to_add", i, err)
		}
		if change.value[0] != "" || option.GetKeepEmptyValue() {
			c.set = append(c.set, change)
		}
	}
	return c, nil
}

func compileHeader(option *corev3.HeaderValueOption) (headerChange, error) {
	key, err := changeableHeader(option.GetHeader().GetKey())
	if err != nil {
		return headerChange{}, at("header.key", err)
	}
	value := option.GetHeader().GetValue()
	if raw := option.GetHeader().GetRawValue(); len(raw) > 0 {
		value = string(raw)
	}
	if value, err = literal(value); err != nil {
		return headerChange{}, at("header.value", err)
	}
	action := option.GetAppendAction()
	//nolint:staticcheck // the older way to say it, which Envoy still takes
	if option.Append != nil && !option.GetAppend().GetValue() {
		action = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	}
	return headerChange{key: key, value: []string{value}, action: appendAction(action)}, nil
}

// changeableHeader gives the canonical form of a header that may be changed. The host and the pseudo headers have rewrites
// of their own.
func changeableHeader(name string) (string, error) {
	if strings.HasPrefix(name, ":") || strings.EqualFold(name, "host") {
		return "", fmt.Errorf("%q cannot be changed as a header; use host_rewrite_literal or prefix_rewrite", name)
	}
	if !httpguts.ValidHeaderFieldName(name) {
		return "", fmt.Errorf("%q is not a header name", name)
	}
	return textproto.CanonicalMIMEHeaderKey(name), nil
}

// literal is a header value without command operators: "%%" stands for a percent sign.
func literal(value string) (string, error) {
	if !strings.Contains(value, "%") {
		return value, checkValue(value)
	}
	plain := strings.ReplaceAll(value, "%%", "\x00")
	if strings.Contains(plain, "%") {
		return "", fmt.Errorf("command operators as in %q are %w", value, errUnsupported)
	}
	plain = strings.ReplaceAll(plain, "\x00", "%")
	return plain, checkValue(plain)
}

func checkValue(value string) error {
	if !httpguts.ValidHeaderFieldValue(value) {
		return errors.New("is not a valid header value")
	}
	return nil
}
