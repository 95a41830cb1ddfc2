package translator

import (
	"errors"
	"fmt"
	"regexp"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// validate checks a message against Envoy's constraints, and against those that other clients add. The generated ValidateAll does not look
// inside an Any, so validate does.
func validate(m proto.Message) error {
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			return err
		}
	}
	return validateWithin(m.ProtoReflect())
}

// validateWithin checks the messages below m that ValidateAll of m has not covered.
func validateWithin(m protoreflect.Message) error {
	var errs []error
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					errs = append(errs, validateNested(v.Message()))
					return true
				})
			}
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				errs = append(errs, validateNested(v.List().Get(i).Message()))
			}
		default:
			errs = append(errs, validateNested(v.Message()))
		}
		return true
	})
	return errors.Join(errs...)
}

func validateNested(m protoreflect.Message) error {
	switch m := m.Interface().(type) {
	case *anypb.Any:
		inner, err := m.UnmarshalNew()
		if err != nil {
			return fmt.Errorf("opening a %s: %w", m.GetTypeUrl(), err)
		}
		return validate(inner)
	case *routev3.WeightedCluster:
		if err := validateWeights(m); err != nil {
			return err
		}
	case *matcherv3.RegexMatcher:
		// Go's syntax is that of RE2, which Envoy uses.
		if _, err := regexp.Compile(m.GetRegex()); err != nil {
			return err
		}
	}
	return validateWithin(m)
}

// validateWeights requires a sum of 100, or of 10,000 for a finer split: gRPC's C-core accepts no other.
func validateWeights(m *routev3.WeightedCluster) error {
	sum := uint64(0)
	for _, c := range m.GetClusters() {
		sum += uint64(c.GetWeight().GetValue())
	}
	if want := uint64(100); m.GetTotalWeight() == nil && sum != want { //nolint:staticcheck // C-core reads total_weight
		return fmt.Errorf("weights sum to %d, want %d", sum, want)
	}
	return nil
}
