package xds

import (
	// So that what is inside of a TLS context can be read wherever the package is used.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
)

// Redacted stands in place of what is secret.
const Redacted = "(not shown)"

// sensitiveOption is how Envoy's protos mark private keys, passwords and the like.
const sensitiveOption = "udpa.annotations.sensitive"

// redactor takes secrets out of resources.
type redactor struct {
	option protoreflect.ExtensionType // nil: secrets cannot be told from the rest
}

func newRedactor() redactor {
	option, err := protoregistry.GlobalTypes.FindExtensionByName(sensitiveOption)
	if err != nil {
		return redactor{}
	}
	return redactor{option}
}

// show is a resource's content without its secrets, wherever in it they are; nil where that is unknown, to be on the safe side.
func (r redactor) show(e *entry) *anypb.Any {
	if e == nil || e.claimed() {
		return nil
	}
	whole := &anypb.Any{TypeUrl: e.Type, Value: e.Body}
	if e.Type == EndpointType {
		return whole // the most frequent, and has no room for any
	}
	m, err := whole.UnmarshalNew()
	if err != nil || r.option == nil {
		return nil
	}
	if !r.redact(m.ProtoReflect()) {
		return whole
	}
	body, err := proto.Marshal(m)
	if err != nil {
		return nil
	}
	return &anypb.Any{TypeUrl: e.Type, Value: body}
}

// redact takes the secrets out of a message and reports whether there were any. Of a message within whose type is not
// known here nothing is left.
func (r redactor) redact(m protoreflect.Message) (found bool) {
	if a, ok := m.Interface().(*anypb.Any); ok {
		return r.redactAny(a)
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case r.sensitive(f):
			hide(m, f, v)
			found = true
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					found = r.redact(v.Message()) || found
					return true
				})
			}
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				found = r.redact(v.List().Get(i).Message()) || found
			}
		default:
			found = r.redact(v.Message()) || found
		}
		return true
	})
	return found
}

func (r redactor) redactAny(a *anypb.Any) bool {
	if len(a.GetValue()) == 0 {
		return false
	}
	inner, err := a.UnmarshalNew()
	if err != nil {
		a.Value = nil
		return true
	}
	if !r.redact(inner.ProtoReflect()) {
		return false
	}
	if a.Value, err = proto.Marshal(inner); err != nil {
		a.Value = nil
	}
	return true
}

func (r redactor) sensitive(f protoreflect.FieldDescriptor) bool {
	marked, _ := proto.GetExtension(f.Options(), r.option).(bool)
	return marked
}

// hide puts Redacted in place of a data source or text, so that it shows that there is something, and clears anything else.
func hide(m protoreflect.Message, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	if f.IsList() || f.IsMap() || f.Message() == nil {
		m.Clear(f)
		return
	}
	source := v.Message()
	text := source.Descriptor().Fields().ByName("inline_string")
	m.Clear(f)
	if text != nil {
		source = m.NewField(f).Message()
		source.Set(text, protoreflect.ValueOfString(Redacted))
		m.Set(f, protoreflect.ValueOfMessage(source))
	}
}
