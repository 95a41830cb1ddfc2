package xds

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// What has come and gone is not kept for a client that takes everything and never says a word.
func TestMuteClientKeepsNothingOfWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Options{})
		defer server.Close()
		server.Apply(Update{})
		p := perform(t, server, ClusterType)
		go func() {
			for range p.got {
			}
		}()
		for i := range 100 {
			r := &Resource{Type: ClusterType, Name: fmt.Sprint(i), Version: "1", Roles: RoleGateway}
			server.Apply(Update{Set: []*Resource{r}})
			time.Sleep(time.Minute)
			server.Apply(Update{Removed: []*Resource{r}})
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		for st := range server.store.streams[roleIndex(RoleGateway)] {
			w := st.watches[0]
			if n := len(w.items) + len(w.late) + len(w.kept) + len(w.doomed) + len(w.inflight); n > 1 {
				t.Errorf("%d items, %d late, %d kept, %d doomed, %d in flight are kept of what is gone",
					len(w.items), len(w.late), len(w.kept), len(w.doomed), len(w.inflight))
			}
		}
		p.exit()
		synctest.Wait()
		close(p.got)
	})
}
