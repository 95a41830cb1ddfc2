package rollout

import (
	"slices"
	"testing"

	"sluice.dev/sluice/model"
)

func called(c *model.Configuration, name, template string) *model.Configuration {
	c.RevisionName, c.Template = name, template
	return c
}

func of(r *model.Revision, owner, template string) *model.Revision {
	r.Owner, r.Template = owner, template
	return r
}

func failed(name string, generation int64, message string) *model.Revision {
	r := rev(name, generation, model.False)
	r.Ready.Message = message
	return r
}

func TestConfigure(t *testing.T) {
	for name, c := range map[string]struct {
		configuration   *model.Configuration
		revisions       []*model.Revision
		create          string
		created, latest string
		status          model.Status
		reason, message string
		taken           bool
	}{
		"the first revision is made": {config(1, ""), nil, "hello-00001", "hello-00001", "", model.Unknown, "", "", false},
		"a new template makes the next one": {config(2, "hello-00001"), revs(1), "hello-00002", "hello-00002", "hello-00001",
			model.Unknown, "", "", false},
		"generations may be skipped": {config(7, "hello-00001"), revs(1), "hello-00007", "hello-00007", "hello-00001",
			model.Unknown, "", "", false},
		"nothing happens twice": {config(2, "hello-00002"), revs(2), "", "hello-00002", "hello-00002", model.True, "", "",
			false},
		"a pending revision leaves latest ready": {config(2, "hello-00001"), append(revs(1), rev("hello-00002", 2, model.Unknown)), "",
			"hello-00002", "hello-00001", model.Unknown, "", "", false},
		"a ready revision becomes latest ready": {config(2, "hello-00001"), revs(2), "", "hello-00002", "hello-00002", model.True, "", "",
			false},
		"a failed revision says so": {config(2, "hello-00001"),
			append(revs(1), failed("hello-00002", 2, "Container failed with: boom")), "", "hello-00002", "hello-00001", model.False,
			"RevisionFailed", `Revision "hello-00002" failed with message: Container failed with: boom.`, false},
		"a message that is a sentence keeps its full stop": {config(2, "hello-00001"),
			append(revs(1), failed("hello-00002", 2, "No node takes a pod.")),
			"", "hello-00002", "hello-00001", model.False, "RevisionFailed",
			`Revision "hello-00002" failed with message: No node takes a pod.`, false},
		"the latest ready one may fail": {config(1, "hello-00001"),
			[]*model.Revision{failed("hello-00001", 1, "gone")}, "", "hello-00001", "hello-00001", model.False, "RevisionFailed",
			`Revision "hello-00001" failed with message: gone.`, false},
		"an older one that is late changes nothing": {config(3, "hello-00002"),
			append(revs(2), rev("hello-00003", 3, model.Unknown)), "", "hello-00003", "hello-00002", model.Unknown, "", "", false},
		"one between moves it forward": {config(3, "hello-00001"),
			append(revs(2), rev("hello-00003", 3, model.Unknown)), "", "hello-00003", "hello-00002", model.Unknown, "", "", false},
		"one that is deleted is replaced by the newest that is ready": {config(4, "hello-00003"),
			append(revs(2), rev("hello-00004", 4, model.Unknown)), "", "hello-00004", "hello-00002", model.Unknown, "", "", false},
		"one made after the fact counts as deleted and is made again": {config(2, "hello-00002"), revs(1), "hello-00002", "hello-00002",
			"hello-00001", model.Unknown, "", "", false},
		"revisions of others do not count": {config(1, ""),
			[]*model.Revision{of(rev("other-00001", 1, model.True), "x", "")}, "hello-00001", "hello-00001", "", model.Unknown, "", "",
			false},

		"a chosen name is used": {called(config(2, "hello-00001"), "hello-blue", "t"), revs(1), "hello-blue",
			"hello-blue", "hello-00001", model.Unknown, "", "", false},
		"a chosen name is found again": {called(config(2, "hello-00001"), "hello-blue", "t"),
			append(revs(1), of(rev("hello-blue", 2, model.True), "c", "u")), "", "hello-blue", "hello-blue", model.True, "", "", false},
		"a chosen name with the same spec is reused": {called(config(5, "hello-00002"), "hello-blue", "t"),
			append(revs(2), of(rev("hello-blue", 1, model.True), "c", "t")), "", "hello-blue", "hello-blue", model.True, "", "", false},
		"a chosen name with another spec is a conflict": {called(config(5, "hello-00002"), "hello-blue", "t"),
			append(revs(2), of(rev("hello-blue", 1, model.True), "c", "u")), "", "hello-00005", "hello-00002", model.False,
			"RevisionFailed",
			`Revision creation failed with message: revisions.serving.knative.dev "hello-blue" already exists.`, true},
		"a chosen name of somebody else is a conflict": {called(config(2, ""), "hello-blue", "t"),
			[]*model.Revision{of(rev("hello-blue", 2, model.True), "x", "t")}, "", "hello-00002", "", model.False, "RevisionFailed",
			`Revision creation failed with message: revisions.serving.knative.dev "hello-blue" already exists.`, true},
		"a made name that is not free yet is waited for": {config(1, ""),
			[]*model.Revision{of(rev("hello-00001", 1, model.True), "before", "")}, "", "hello-00001", "", model.Unknown, "RevisionFailed",
			`Revision creation failed with message: revisions.serving.knative.dev "hello-00001" already exists.`, false},
	} {
		t.Run(name, func(t *testing.T) {
			plan := Configure(c.configuration, c.revisions)
			check(t, "create, created, ready", []string{plan.Create, plan.LatestCreated, plan.LatestReady},
				[]string{c.create, c.created, c.latest})
			says(t, plan.Conditions, model.Ready, c.status, c.reason, c.message)
			if plan.NameTaken != c.taken {
				t.Errorf("NameTaken = %t, want %t", plan.NameTaken, c.taken)
			}
			slices.Reverse(c.revisions)
			check(t, "the same in another order", Configure(c.configuration, c.revisions), plan)
		})
	}
}

// A revision becomes ready, fails and recovers in any order; what was latest ready never gets older.
func TestRefusedRevisionIsNotTheLatestOne(t *testing.T) {
	c := config(2, "hello-00001")
	c.LatestCreated = "hello-00001"
	plan := Configure(c, revs(1)).Refused(c, "no room.")
	check(t, "create, created, ready", []string{plan.Create, plan.LatestCreated, plan.LatestReady},
		[]string{"", "hello-00001", "hello-00001"})
	says(t, plan.Conditions, model.Ready, model.False, "RevisionFailed", "Revision creation failed with message: no room.")
}

func TestLatestReadyIsMonotonic(t *testing.T) {
	for seed := range uint64(200) {
		next := random(seed)
		c := config(1, "")
		var revisions []*model.Revision
		newest := int64(0)
		for range 40 {
			switch next(3) {
			case 0:
				c.Generation++
			default:
				if len(revisions) > 0 {
					r := revisions[next(len(revisions))]
					r.Ready.Status = []model.Status{model.True, model.False, model.Unknown}[next(3)]
				}
			}
			plan := Configure(c, revisions)
			if plan.Create != "" {
				revisions = append(revisions, rev(plan.Create, c.Generation, model.Unknown))
			}
			c = plan.Of(c)
			if r := find(revisions, key(c.LatestReady)); r != nil {
				if r.Generation < newest {
					t.Fatalf("seed %d: latest ready went from generation %d back to %d", seed, newest, r.Generation)
				}
				newest = r.Generation
			}
		}
	}
}

// random is a small generator of numbers below n, always the same for a seed.
func random(seed uint64) func(n int) int {
	x := seed*2862933555777941757 + 3037000493
	return func(n int) int {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		return int(x % uint64(n))
	}
}
