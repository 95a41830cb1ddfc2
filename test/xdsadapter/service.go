package main

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice.dev/sluice/xds/resource"
)

// pause is how long UpdateResource waits at first. A harness calls it right after it has sent a request on an xDS stream. The server
// must have read that request before the update, and nothing reports when it has.
const pause = 300 * time.Millisecond

// methods are the methods of the adapter's service. A call returns when its change is in force, and returns the value of the
// response's only field.
var methods = []struct {
	name, request, response string
	call                    func(context.Context, *node, dynamic) (any, error)
}{
	{"SetState", "SetStateRequest", "SetStateResponse", setState},
	{"ClearState", "clearStateRequest", "clearStateResponse", clearState},
	{"UpdateResource", "ResourceRequest", "UpdateResourceResponse", updateResource},
	{"AddResource", "ResourceRequest", "AddResourceResponse", addResource},
	{"RemoveResource", "ResourceRequest", "RemoveResourceResponse", removeResource},
}

// register adds the adapter's service to a gRPC server.
func register(to *grpc.Server, nodes *nodes) error {
	service, err := schema()
	if err != nil {
		return err
	}
	desc := &grpc.ServiceDesc{ServiceName: serviceName, HandlerType: (*any)(nil)}
	for i, m := range methods {
		described := service.Methods().Get(i)
		desc.Methods = append(desc.Methods, grpc.MethodDesc{
			MethodName: m.name,
			// There are no interceptors on this server.
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				request, response := newDynamic(described.Input()), newDynamic(described.Output())
				if err := decode(request.Message); err != nil {
					return nil, err
				}
				result, err := m.call(ctx, nodes.of(request.text("node")), request)
				if err != nil {
					return nil, err
				}
				response.answer(result)
				return response.Message, nil
			},
		})
	}
	to.RegisterService(desc, nodes)
	return nil
}

func setState(_ context.Context, n *node, request dynamic) (any, error) {
	version := request.text("version")
	given := request.Get(request.field("resources")).List()
	resources := make([]*resource.Resource, given.Len())
	for i := range resources {
		wrapped := given.Get(i).Message()
		get := func(name protoreflect.Name) protoreflect.Value {
			return wrapped.Get(wrapped.Descriptor().Fields().ByName(name))
		}
		url := get("type_url").String()
		name, err := nameOf(url, get("value").Bytes())
		if err != nil {
			return nil, err
		}
		if resources[i], err = newResource(url, name, version); err != nil {
			return nil, err
		}
	}
	n.replace(version, resources)
	return true, nil
}

// clearState removes all resources of a state; clients that had some receive the removals.
func clearState(_ context.Context, n *node, _ dynamic) (any, error) {
	n.replace("", nil)
	return "cleared", nil
}

func updateResource(ctx context.Context, n *node, request dynamic) (any, error) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	r, err := newResource(request.text("typeUrl"), request.text("resourceName"), request.text("version"))
	if err != nil {
		return nil, err
	}
	return true, n.update(r)
}

func addResource(_ context.Context, n *node, request dynamic) (any, error) {
	r, err := newResource(request.text("typeUrl"), request.text("resourceName"), request.text("version"))
	if err != nil {
		return nil, err
	}
	n.set(r)
	return true, nil
}

func removeResource(_ context.Context, n *node, request dynamic) (any, error) {
	return true, n.remove(request.text("typeUrl"), request.text("resourceName"), request.text("version"))
}
