package apiserver

import (
	"encoding/json"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/standalone/store"
)

// unavailable is the API's error while the store does not serve.
func unavailable(why error) *apierrors.StatusError {
	return apierrors.NewServiceUnavailable(why.Error())
}

// whileStored answers requests that need the store with 503 and the reason while the store does not serve. Without it the library
// would let clients wait until a deadline.
func whileStored(s *store.Store, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		why := s.Failure()
		if why == nil && r.URL.Query().Get("watch") == "" { // a watch goes on when the store is back
			ctx, cancel := s.While(r.Context())
			defer cancel()
			r = r.WithContext(ctx)
		}
		if why == nil || !strings.HasPrefix(r.URL.Path, "/apis/") {
			next.ServeHTTP(w, r)
			return
		}
		status := unavailable(why).Status()
		status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(status) // fails only if the client has gone
	})
}
