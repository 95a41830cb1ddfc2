package main

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
)

const packageName, serviceName = "adapter", "adapter.Adapter"

// field is a string unless it has another type; its number is its position.
type field struct {
	name string
	kind descriptorpb.FieldDescriptorProto_Type
}

// messages are the adapter's messages, with the names that harnesses use.
var messages = []struct {
	name   string
	fields []field
}{
	{"SetStateRequest", []field{{name: "node"}, {name: "version"}, {"resources", descriptorpb.FieldDescriptorProto_TYPE_MESSAGE}}},
	{"SetStateResponse", []field{{"success", descriptorpb.FieldDescriptorProto_TYPE_BOOL}}},
	{"clearStateRequest", []field{{name: "node"}}},
	{"clearStateResponse", []field{{name: "response"}}},
	{"ResourceRequest", []field{{name: "node"}, {name: "typeUrl"}, {name: "resourceName"}, {name: "version"}}},
	{"UpdateResourceResponse", []field{{"success", descriptorpb.FieldDescriptorProto_TYPE_BOOL}}},
	{"AddResourceResponse", []field{{"success", descriptorpb.FieldDescriptorProto_TYPE_BOOL}}},
	{"RemoveResourceResponse", []field{{"success", descriptorpb.FieldDescriptorProto_TYPE_BOOL}}},
}

// schema builds the descriptors of the adapter's service at run time: it has five methods, and this repository keeps no generated
// protos.
func schema() (protoreflect.ServiceDescriptor, error) {
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("adapter.proto"), Package: proto.String(packageName), Syntax: proto.String("proto3"),
		Dependency: []string{anypb.File_google_protobuf_any_proto.Path()},
	}
	for _, m := range messages {
		message := &descriptorpb.DescriptorProto{Name: proto.String(m.name)}
		for i, f := range m.fields {
			message.Field = append(message.Field, f.describe(int32(i+1)))
		}
		file.MessageType = append(file.MessageType, message)
	}
	service := &descriptorpb.ServiceDescriptorProto{Name: proto.String("Adapter")}
	for _, m := range methods {
		service.Method = append(service.Method, &descriptorpb.MethodDescriptorProto{
			Name:       proto.String(m.name),
			InputType:  proto.String("." + packageName + "." + m.request),
			OutputType: proto.String("." + packageName + "." + m.response),
		})
	}
	file.Service = append(file.Service, service)
	built, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		return nil, fmt.Errorf("describing the adapter's service: %w", err)
	}
	return built.Services().Get(0), nil
}

func (f field) describe(number int32) *descriptorpb.FieldDescriptorProto {
	described := &descriptorpb.FieldDescriptorProto{
		Name: proto.String(f.name), JsonName: proto.String(f.name), Number: proto.Int32(number),
		Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		Type:  descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
	}
	switch f.kind {
	case descriptorpb.FieldDescriptorProto_TYPE_MESSAGE:
		described.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		described.TypeName = proto.String(".google.protobuf.Any")
		described.Type = f.kind.Enum()
	case descriptorpb.FieldDescriptorProto_TYPE_BOOL:
		described.Type = f.kind.Enum()
	}
	return described
}

// dynamic reads and writes the fields of a message of the schema.
type dynamic struct{ *dynamicpb.Message }

func newDynamic(d protoreflect.MessageDescriptor) dynamic { return dynamic{dynamicpb.NewMessage(d)} }

func (d dynamic) field(name string) protoreflect.FieldDescriptor {
	return d.Descriptor().Fields().ByName(protoreflect.Name(name))
}

func (d dynamic) text(name string) string { return d.Get(d.field(name)).String() }

// answer sets the only field of a response.
func (d dynamic) answer(value any) {
	d.Set(d.Descriptor().Fields().Get(0), protoreflect.ValueOf(value))
}
