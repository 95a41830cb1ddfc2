package apiserver

import (
	"encoding/json"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/standalone/store"
)

// unavailable says that the store does not serve.
func unavailable(why error) *apierrors.StatusError {
	return apierrors.NewServiceUnavailable(why.Error())
}

// whileStored answers what needs the store, while that does not serve, at once and with the reason: the library would have clients
// wait, and then tell them of a deadline.
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
		_ = json.NewEncoder(w).Encode(status) // an error is the client's going away
	})
}
