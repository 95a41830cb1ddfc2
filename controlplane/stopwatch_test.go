package controlplane_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/controlplane"
	"sluice.dev/sluice/xds/resource"
)

func TestStopwatchTimesWhatClientsAcknowledge(t *testing.T) {
	const second = time.Second
	for name, c := range map[string]struct {
		run  func(published func(seq uint64, roles uint8), progressed func(resource.Progress))
		want map[uint8][]time.Duration
	}{
		"each change by itself": {func(published func(uint64, uint8), progressed func(resource.Progress)) {
			progressed(resource.Progress{Role: contract.RoleGateway, Clients: 1})
			published(1, contract.RoleGateway)
			time.Sleep(second)
			published(2, contract.RoleGateway)
			time.Sleep(second)
			progressed(resource.Progress{Role: contract.RoleGateway, Seq: 1, Clients: 1})
			time.Sleep(second)
			progressed(resource.Progress{Role: contract.RoleGateway, Seq: 5, Clients: 1})
		}, map[uint8][]time.Duration{contract.RoleGateway: {2 * second, 2 * second}}},
		"only roles that may have what changed": {func(published func(uint64, uint8), progressed func(resource.Progress)) {
			progressed(resource.Progress{Role: contract.RoleGateway, Clients: 1})
			progressed(resource.Progress{Role: contract.RoleMesh, Clients: 1})
			published(1, contract.RoleMesh)
			time.Sleep(second)
			progressed(resource.Progress{Role: contract.RoleGateway, Seq: 1, Clients: 1})
			progressed(resource.Progress{Role: contract.RoleMesh, Seq: 1, Clients: 1})
		}, map[uint8][]time.Duration{contract.RoleMesh: {second}}},
		"nothing while no client is connected": {func(published func(uint64, uint8), progressed func(resource.Progress)) {
			published(1, contract.RoleGateway)
			progressed(resource.Progress{Role: contract.RoleGateway, Seq: 1, Clients: 1})
			published(2, contract.RoleGateway)
			progressed(resource.Progress{Role: contract.RoleGateway, Seq: 2})
		}, map[uint8][]time.Duration{}},
		"an acknowledgement that comes before publication returns": {func(published func(uint64, uint8),
			progressed func(resource.Progress)) {
			progressed(resource.Progress{Role: contract.RoleGateway, Seq: 1, Clients: 1})
			published(1, contract.RoleGateway)
		}, map[uint8][]time.Duration{contract.RoleGateway: {0}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := map[uint8][]time.Duration{}
				s := controlplane.NewStopwatch(func(role uint8, d time.Duration) { got[role] = append(got[role], d) })
				c.run(func(seq uint64, roles uint8) {
					s.Published(resource.Update{Set: []*resource.Resource{{Roles: roles}}}, seq, time.Now())
				}, s.Progressed)
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		})
	}
}
