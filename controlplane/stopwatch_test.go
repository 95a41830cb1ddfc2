package controlplane_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/controlplane"
	"sluice.dev/sluice/xds"
)

func TestStopwatchTimesWhatClientsAcknowledge(t *testing.T) {
	const second = time.Second
	for name, c := range map[string]struct {
		run  func(published func(seq uint64, roles uint8), progressed func(xds.Progress))
		want map[uint8][]time.Duration
	}{
		"each change by itself": {func(published func(uint64, uint8), progressed func(xds.Progress)) {
			progressed(xds.Progress{Role: xds.RoleGateway, Clients: 1})
			published(1, xds.RoleGateway)
			time.Sleep(second)
			published(2, xds.RoleGateway)
			time.Sleep(second)
			progressed(xds.Progress{Role: xds.RoleGateway, Seq: 1, Clients: 1})
			time.Sleep(second)
			progressed(xds.Progress{Role: xds.RoleGateway, Seq: 5, Clients: 1})
		}, map[uint8][]time.Duration{xds.RoleGateway: {2 * second, 2 * second}}},
		"only roles that may have what changed": {func(published func(uint64, uint8), progressed func(xds.Progress)) {
			progressed(xds.Progress{Role: xds.RoleGateway, Clients: 1})
			progressed(xds.Progress{Role: xds.RoleMesh, Clients: 1})
			published(1, xds.RoleMesh)
			time.Sleep(second)
			progressed(xds.Progress{Role: xds.RoleGateway, Seq: 1, Clients: 1})
			progressed(xds.Progress{Role: xds.RoleMesh, Seq: 1, Clients: 1})
		}, map[uint8][]time.Duration{xds.RoleMesh: {second}}},
		"nothing while no client is connected": {func(published func(uint64, uint8), progressed func(xds.Progress)) {
			published(1, xds.RoleGateway)
			progressed(xds.Progress{Role: xds.RoleGateway, Seq: 1, Clients: 1})
			published(2, xds.RoleGateway)
			progressed(xds.Progress{Role: xds.RoleGateway, Seq: 2})
		}, map[uint8][]time.Duration{}},
		"an acknowledgement that comes before publication returns": {func(published func(uint64, uint8), progressed func(xds.Progress)) {
			progressed(xds.Progress{Role: xds.RoleGateway, Seq: 1, Clients: 1})
			published(1, xds.RoleGateway)
		}, map[uint8][]time.Duration{xds.RoleGateway: {0}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := map[uint8][]time.Duration{}
				s := controlplane.NewStopwatch(func(role uint8, d time.Duration) { got[role] = append(got[role], d) })
				c.run(func(seq uint64, roles uint8) {
					s.Published(xds.Update{Set: []*xds.Resource{{Roles: roles}}}, seq, time.Now())
				}, s.Progressed)
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		})
	}
}
