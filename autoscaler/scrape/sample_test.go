package scrape

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

func TestSampleSizesAreKnatives(t *testing.T) {
	for n, want := range map[int]int{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 10: 7, 20: 9, 50: 12, 100: 14, 500: 15, 1e6: 16} {
		if got := sampleSize(n); got != want {
			t.Errorf("of %d replicas %d are asked, want %d", n, got, want)
		}
	}
}

func population(now time.Time, old, young int) Target {
	t := Target{Window: time.Minute}
	for i := range old + young {
		since := now.Add(-time.Hour)
		if i >= old {
			since = now.Add(-time.Second)
		}
		t.Replicas = append(t.Replicas, model.Scrape{URL: fmt.Sprint("http://replica-", i), Since: since})
	}
	return t
}

func TestOldReplicasAreAskedFirst(t *testing.T) {
	now := time.Now()
	never := func(int) bool { return false }
	for name, test := range map[string]struct{ old, young int }{
		"more old ones than places":  {30, 20},
		"fewer old ones than places": {5, 45},
		"none old":                   {0, 50},
		"all old":                    {50, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := order(population(now, test.old, test.young), now, never)
			for place, i := range got {
				if (i < test.old) != (place < test.old) {
					t.Fatalf("place %d has replica %d of %d old ones", place, i, test.old)
				}
			}
			if slices.Sort(got); len(slices.Compact(got)) != test.old+test.young {
				t.Error("a replica is missing or there twice")
			}
		})
	}
}

// TestSampleStaysButForOne: readings of the round before make averages over a second; still everyone has its turn.
func TestSampleStaysButForOne(t *testing.T) {
	now := time.Now()
	for name, target := range map[string]Target{"old": population(now, 100, 0), "mixed": population(now, 5, 95)} {
		t.Run(name, func(t *testing.T) {
			k := sampleSize(len(target.Replicas))
			asked, before := map[int]bool{}, []int{}
			for round := range 2000 {
				sample := order(target, now, func(i int) bool { return slices.Contains(before, i) })[:k]
				changed := 0
				for _, i := range sample {
					asked[i] = true
					if !slices.Contains(before, i) {
						changed++
					}
				}
				if round > 0 && changed != 1 {
					t.Fatalf("%d places changed, want 1", changed)
				}
				before = sample
			}
			if len(asked) != len(target.Replicas) {
				t.Errorf("%d of %d had their turn", len(asked), len(target.Replicas))
			}
		})
	}
}
