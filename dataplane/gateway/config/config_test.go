package config

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

func TestOutlierDetectionIsOffUnlessTheClusterSplitsLocalFailures(t *testing.T) {
	for name, c := range map[string]struct {
		from *clusterv3.OutlierDetection
		want settings.OutlierDetection
	}{
		"none":     {nil, settings.OutlierDetection{Failures: 0, Ejection: 30 * time.Second}},
		"no split": {&clusterv3.OutlierDetection{}, settings.OutlierDetection{Failures: 0, Ejection: 30 * time.Second}},
		"defaults": {&clusterv3.OutlierDetection{SplitExternalLocalOriginErrors: true},
			settings.OutlierDetection{Failures: 5, Ejection: 30 * time.Second}},
		"given": {&clusterv3.OutlierDetection{
			SplitExternalLocalOriginErrors: true, ConsecutiveLocalOriginFailure: wrapperspb.UInt32(3),
			BaseEjectionTime: durationpb.New(5 * time.Second),
		}, settings.OutlierDetection{Failures: 3, Ejection: 5 * time.Second}},
		"not enforced": {&clusterv3.OutlierDetection{
			SplitExternalLocalOriginErrors: true, EnforcingConsecutiveLocalOriginFailure: wrapperspb.UInt32(0),
		}, settings.OutlierDetection{Failures: 0, Ejection: 30 * time.Second}},
	} {
		if got := compileOutlierDetection(c.from); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestTheTableOfFieldsNamesFieldsOfTheAPI(t *testing.T) {
	for message, f := range understood {
		kind, err := protoregistry.GlobalTypes.FindMessageByName(message)
		if err != nil {
			t.Errorf("%s: %v", message, err)
			continue
		}
		for _, name := range strings.Fields(f.used + " " + f.ignored) {
			if kind.Descriptor().Fields().ByTextName(name) == nil {
				t.Errorf("%s has no field %s", message, name)
			}
		}
	}
}
