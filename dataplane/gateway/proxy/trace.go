package proxy

import (
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
)

// traceRevision records the revision that the route names.
func (x *exchange) traceRevision(h http.Header) {
	namespace, name := h[contract.NamespaceHeader], h[contract.RevisionHeader]
	if len(namespace) == 1 && len(name) == 1 {
		x.span.Revision(model.Key{Namespace: namespace[0], Name: name[0]})
	}
}

// traceRetry records that another endpoint is tried.
func (x *exchange) traceRetry(failed *Host, tries int) {
	if x.span != nil {
		x.span.Event("retry", time.Time{},
			attribute.String("network.peer.address", failed.Address), attribute.Int("sluice.try", tries))
	}
}

func (x *exchange) endSpan() {
	if x.span != nil {
		x.span.Answered(x.status, x.flags, x.whole && x.status != 0)
	}
}
