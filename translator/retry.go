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
	// maxRetries is how often a request is retried when an endpoint cannot be connected to or refuses the stream: enough for two attempts
	// in each of the two priorities, twice over, while the endpoints change from one attempt to the next.
	maxRetries = 9
	// attemptsPerPriority is after how many attempts Envoy tries the next priority.
	attemptsPerPriority = 2
	// hostSelections is how often Envoy selects again when it selects an endpoint that it has tried already.
	hostSelections = 5
	// backOff is the longest wait before the first retry, which goes to another endpoint; it doubles for each further one.
	backOff        = 5 * time.Millisecond
	longestBackOff = 100 * time.Millisecond
	// answerGrace is how much later than an activator or a queue-proxy the gateway ends a request.
	answerGrace = 2 * time.Second
)

// retryPolicy retries, on another replica, only what no application can have received.
//
// The virtual host's answerWithin bounds the time from the end of the request to the beginning of the response. Activators and
// queue-proxies enforce it themselves, so it passes only if one of them hangs; the request is not retried then. Envoy's timeout of a route
// would end a response that has begun; the per-try timeout does not.
func retryPolicy(v virtualHost) *routev3.RetryPolicy {
	p := &routev3.RetryPolicy{
		RetryOn:      "connect-failure,refused-stream,reset-before-request,retriable-headers",
		NumRetries:   wrapperspb.UInt32(maxRetries),
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
	if v.answerWithin > 0 {
		p.PerTryTimeout = durationpb.New(v.answerWithin + answerGrace)
	}
	return p
}
