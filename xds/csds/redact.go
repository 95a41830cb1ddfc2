package csds

import (
	// Registers the type of TLS contexts, so that they can be parsed wherever this package is used.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

// Redacted stands in place of secrets.
const Redacted = "(not shown)"

// sensitiveOption is the field option by which Envoy's protos mark private keys, passwords and the like.
const sensitiveOption = "udpa.annotations.sensitive"

// redactor takes secrets out of resources.
type redactor struct {
	option protoreflect.ExtensionType // nil: unknown, so nothing can be shown
}

func newRedactor() redactor {
	option, err := protoregistry.GlobalTypes.FindExtensionByName(sensitiveOption)
	if err != nil {
		return redactor{}
	}
	return redactor{option}
}

// show is a resource's content without its secrets; nil where it cannot be known what they are.
func (r redactor) show(e *offer.Entry) *anypb.Any {
	if e == nil || e.Claimed() {
		return nil
	}
	whole := &anypb.Any{TypeUrl: e.Type, Value: e.Body}
	if e.Type == resource.EndpointType {
		return whole // it has no secrets, and is the most frequent type
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

// redact removes the secrets from a message and reports whether there were any. It clears an Any whose type is not registered.
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

// hide puts Redacted in place of a data source, to show that there is one, and clears any other field.
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
