package translator

import (
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/contract"
)

const (
	// retries is how many more attempts a request has when an endpoint cannot be connected to or refuses the stream: enough for
	// two in each of the two priorities, twice over, while what is named changes between one attempt and the next.
	retries = 9
	// attemptsPerPriority is after how many attempts Envoy leaves a priority for the next one.
	attemptsPerPriority = 2
	// hostSelections is how often Envoy draws again when it draws an endpoint that has been tried already.
	hostSelections = 5
	// backOff is the most that is waited before the first of these attempts, which is to go elsewhere; each further one waits up to
	// twice as long.
	backOff        = 5 * time.Millisecond
	longestBackOff = 100 * time.Millisecond
	// answerGrace is how much later than an activator or a queue-proxy the gateway gives up a request.
	answerGrace = 2 * time.Second
)

// retryPolicy tries again only what cannot have reached an application, and on another replica.
//
// answerWithin bounds the time from the end of the request to the beginning of the response. Activators and queue-proxies keep it
// themselves, so that it passes only where one of them hangs, and the request is not sent again then. Envoy's own timeout of
// a route would end a response that has begun; the one of an attempt does not.
func retryPolicy(answerWithin time.Duration) *routev3.RetryPolicy {
	p := &routev3.RetryPolicy{
		RetryOn:      "connect-failure,refused-stream,reset-before-request,retriable-headers",
		NumRetries:   wrapperspb.UInt32(retries),
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(backOff), MaxInterval: durationpb.New(longestBackOff)},
		RetriableHeaders: []*routev3.HeaderMatcher{{
			Name: reasonHeader,
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_Exact{Exact: contract.ReasonUnsent},
			}},
		}},
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: anyOf(&previoushostsv3.PreviousHostsPredicate{})},
		}},
		RetryPriority: &routev3.RetryPolicy_RetryPriority{
			Name: "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{TypedConfig: anyOf(&previousprioritiesv3.PreviousPrioritiesConfig{
				UpdateFrequency: attemptsPerPriority,
			})},
		},
		HostSelectionRetryMaxAttempts: hostSelections,
	}
	if answerWithin > 0 {
		p.PerTryTimeout = durationpb.New(answerWithin + answerGrace)
	}
	return p
}
