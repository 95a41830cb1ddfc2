package config

import (
	"errors"
	"fmt"
	"net/textproto"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"golang.org/x/net/http/httpguts"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// compileHeaders compiles header changes; what names the pair of fields, such as "request_headers".
func compileHeaders(what string, add []*corev3.HeaderValueOption, remove []string) (*settings.HeaderChanges, error) {
	if len(add) == 0 && len(remove) == 0 {
		return nil, nil
	}
	c := &settings.HeaderChanges{}
	for i, name := range remove {
		key, err := changeableHeader(name)
		if err != nil {
			return nil, atIndex(what+"_to_remove", i, err)
		}
		c.Remove = append(c.Remove, key)
	}
	for i, option := range add {
		change, err := compileHeader(option)
		if err != nil {
			return nil, atIndex(what+"_to_add", i, err)
		}
		if change.Value[0] != "" || option.GetKeepEmptyValue() {
			c.Set = append(c.Set, change)
		}
	}
	return c, nil
}

func compileHeader(option *corev3.HeaderValueOption) (settings.HeaderChange, error) {
	key, err := changeableHeader(option.GetHeader().GetKey())
	if err != nil {
		return settings.HeaderChange{}, at("header.key", err)
	}
	value := option.GetHeader().GetValue()
	if raw := option.GetHeader().GetRawValue(); len(raw) > 0 {
		value = string(raw)
	}
	if value, err = literal(value); err != nil {
		return settings.HeaderChange{}, at("header.value", err)
	}
	action := settings.AppendAction(option.GetAppendAction())
	//nolint:staticcheck // the older way to say it, which Envoy still takes
	if option.Append != nil && !option.GetAppend().GetValue() {
		action = settings.OverwriteOrAdd
	}
	return settings.HeaderChange{Key: key, Value: []string{value}, Action: action}, nil
}

// changeableHeader is the canonical form of a header that may be changed. The host and the pseudo headers have rewrites of their own.
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
